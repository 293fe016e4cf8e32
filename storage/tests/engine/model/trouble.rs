//! What goes wrong with disk and clock.

use std::time::Duration;

use super::Story;

/// How long a call may take where the disk is slow.
const SLOW: Duration = Duration::from_millis(100);

impl Story {
    /// In half of all lives the disk takes its time, a little or much, and whatever waits for it is overtaken by others.
    pub(super) fn choose_pace(&mut self) {
        let longest = match self.draw(4) {
            0 => Duration::ZERO,
            1 => SLOW,
            _ => return self.world.disk.speed_up(),
        };
        let seed = self.draw(u64::MAX);
        self.world
            .disk
            .slow_down(self.world.env.clone(), seed, longest);
    }

    /// The disk will die, or fail to sync or to write, in a moment.
    pub(super) fn trouble(&mut self) {
        let disk = self.world.disk.clone();
        match self.draw(5) {
            0 | 1 => disk.go_down_at_sync(1 + self.draw(14)),
            2 | 3 => {
                self.syncs_failed = true;
                disk.fail_syncs_after(self.draw(6), 1 + self.draw(2) as u32);
            }
            _ => disk.fail_writes_after(self.draw(12), 1 + self.draw(2) as u32),
        }
    }

    /// The wall clock is set by up to four hours, forward or back; boot time goes on.
    pub(super) fn step_the_wall_clock(&mut self) {
        let micros = self.draw(8 * 3_600_000_000) as i64 - 4 * 3_600_000_000;
        // What was due before it goes back has been done.
        self.clock();
        self.world.env.step_wall(micros);
        self.clock();
    }

    /// In some lives one bit of one blob is not as it was written.
    pub(super) fn flip_a_bit(&mut self) {
        let blobs = self.world.paths("blobs/");
        if blobs.is_empty() || self.draw(5) > 0 {
            return;
        }
        let path = blobs[self.draw(blobs.len() as u64) as usize].clone();
        let bytes = self.world.disk.contents(&path).expect("it was listed");
        let byte = self.draw(bytes.len() as u64) as usize;
        self.world.disk.flip(&path, byte, 4);
        self.flipped = Some((path, byte));
    }

    /// The bit is as it was, if its blob is still there.
    pub(super) fn flip_back(&mut self) {
        if let Some((path, byte)) = self.flipped.take()
            && self.world.disk.contents(&path).is_some()
        {
            self.world.disk.flip(&path, byte, 4);
        }
    }

    /// Lets some time pass.
    pub(super) fn wait(&self, longest: Duration) {
        let micros = self.draw(longest.as_micros() as u64);
        self.world.env.advance(Duration::from_micros(micros));
    }
}
