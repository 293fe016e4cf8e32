//! Requests that go on while a story happens: what the neighbour of a table in trouble notices.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use palladium_integration_tests::node::Node;
use palladium_integration_tests::raw::{Answer, Connection, code};
use tokio::task::JoinHandle;

use crate::rows::{bind, versions};

/// Reads and writes of one table on a connection of their own, one after the other; refusals are collected, wrong rows fail the test.
pub struct Load {
    stopping: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    /// Of the present lap.
    latencies: Arc<Mutex<Histogram<u64>>>,
    task: JoinHandle<Vec<String>>,
}

impl Load {
    /// Starts; `table` is one for rows of this crate.
    pub fn start(node: &Node, table: &str) -> Load {
        let (address, table) = (node.address(), table.to_owned());
        let stopping = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let histogram = Histogram::new(3).expect("three digits are possible");
        let latencies = Arc::new(Mutex::new(histogram));
        let (stop, count) = (Arc::clone(&stopping), Arc::clone(&answered));
        let lap = Arc::clone(&latencies);
        let task = tokio::spawn(async move {
            let mut connection = Connection::open(address)
                .await
                .expect("the server is ready");
            let inserting = format!("INSERT INTO {table} (p, c, v) VALUES (?, ?, ?)");
            let selecting = format!("SELECT p, c, v FROM {table} WHERE p = ? AND c = ?");
            let mut insert = connection
                .prepare(&inserting)
                .await
                .expect("INSERT can be prepared");
            let mut select = connection
                .prepare(&selecting)
                .await
                .expect("SELECT can be prepared");
            let mut refusals = Vec::new();
            for turn in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let place = (turn % 50, turn / 50 % 20);
                let values = bind(place, 100 + turn as u64);
                let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
                for (text, id, values) in [
                    (&inserting, &mut insert, &values[..]),
                    (&selecting, &mut select, &values[..2]),
                ] {
                    let asked = Instant::now();
                    let mut answer = connection
                        .execute(id, values)
                        .await
                        .expect("the connection holds");
                    // What every driver does: a statement that the server has forgotten is prepared again.
                    if matches!(
                        answer,
                        Answer::Refused {
                            code: code::UNPREPARED,
                            ..
                        }
                    ) {
                        *id = connection
                            .prepare(text)
                            .await
                            .expect("it can be prepared again");
                        answer = connection
                            .execute(id, values)
                            .await
                            .expect("the connection holds");
                    }
                    match answer {
                        Answer::Refused { code, message } => {
                            refusals.push(format!("{code:#06x} {message}"))
                        }
                        Answer::Rows(rows) => {
                            assert_eq!(versions(&rows.rows), [(place, 100 + turn as u64)])
                        }
                        _ => {}
                    }
                    let microseconds = asked.elapsed().as_micros() as u64;
                    let mut lap = lap.lock().expect("no holder of this lock panics");
                    lap.record(microseconds)
                        .expect("a histogram that grows takes all");
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
            refusals
        });
        Load {
            stopping,
            answered,
            latencies,
            task,
        }
    }

    /// Waits until so many more requests were answered.
    pub async fn wait_for(&self, more: u64) {
        let goal = self.answered.load(Ordering::Relaxed) + more;
        while self.answered.load(Ordering::Relaxed) < goal {
            assert!(!self.task.is_finished(), "the load has ended by itself");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The 99th percentile of the lap that ends here, in microseconds; the next one begins.
    pub fn lap_p99_us(&self) -> u64 {
        let mut lap = self
            .latencies
            .lock()
            .expect("no holder of this lock panics");
        let p99 = lap.value_at_quantile(0.99);
        lap.reset();
        p99
    }

    /// Ends, and gives what was refused.
    pub async fn stop(self) -> Vec<String> {
        self.stopping.store(true, Ordering::Relaxed);
        self.task.await.expect("the load ends when told to")
    }
}
