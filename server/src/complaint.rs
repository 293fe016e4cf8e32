//! What would be logged each second, or many times in one, while it lasts is logged once in a while.

use std::time::{Duration, Instant};

/// From one log line to the next.
const PAUSE: Duration = Duration::from_secs(10);

/// One kind of trouble.
#[derive(Default)]
pub struct Complaint {
    said_at: Option<Instant>,
}

impl Complaint {
    /// Whether it is to be logged; then it is not for a while.
    pub fn is_due(&mut self, now: Instant) -> bool {
        self.is_due_each(PAUSE, now)
    }

    /// The same with another pause.
    pub fn is_due_each(&mut self, pause: Duration, now: Instant) -> bool {
        let is_due = self.said_at.is_none_or(|said_at| now >= said_at + pause);
        if is_due {
            self.said_at = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_that_lasts_is_said_once_in_a_while() {
        let mut complaint = Complaint::default();
        let start = Instant::now();
        let said =
            (0..410).filter(|turn| complaint.is_due(start + Duration::from_millis(50) * *turn));
        assert_eq!(said.collect::<Vec<u32>>(), [0, 200, 400]);
    }
}
