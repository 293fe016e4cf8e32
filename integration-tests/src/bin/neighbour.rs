//! What the neighbour of a table notices when that table's key is taken away: latencies of its requests, quiet and loud in turns.
//!
//! ```text
//! round     quiet   quiet again │ taking away      locked      │ given back
//! key       works   works       │ until refused    away        │ until served, and a second
//! compared          noise       │ with the quiet of this round │
//! ```
//!
//! Two clients ask all the time and at a fixed pace, whatever they are answered: one the table whose key comes and goes, one its neighbour under another key. Each
//! round compares with its own quiet, so that a machine that is slower now than it was spoils a round and not the figure; what counts is the median of the rounds.
//! A machine that cannot tell one quiet from the next cannot tell quiet from loud either: that noise is printed beside.
//!
//! ```text
//! PALLADIUM=target/release/palladium target/release/neighbour --service keyring,aws,vault,pkcs11,kmip
//! ```

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use hdrhistogram::Histogram;
use palladium_integration_tests::node::{Node, Settings};
use palladium_integration_tests::owners::vault::{Double, Service as Vault, TakeAway};
use palladium_integration_tests::owners::{
    AwsGrantsOwner, AwsPolicyOwner, KeyringOwner, Owner, PyKmip, SoftHsm, VaultOwner,
};
use palladium_integration_tests::raw::{Answer, Connection, code};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// Latencies of one table's requests while the key of another comes and goes.
#[derive(Parser)]
#[command(name = "neighbour", version)]
struct Arguments {
    /// Key services.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "keyring")]
    service: Vec<Service>,
    /// Rounds of each.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Seconds of each part of a round, but for the taking away.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Requests of each client in a second: half of them writes.
    #[arg(long, default_value_t = 1_000)]
    per_second: u64,
    /// Seconds of a lease.
    #[arg(long, default_value_t = 10)]
    lease: u64,
}

#[derive(Copy, Clone, Debug, ValueEnum)]
enum Service {
    Keyring,
    KeyringGrants,
    Aws,
    AwsGrants,
    Vault,
    Pkcs11,
    Kmip,
}

impl Service {
    fn owner(self) -> Result<Box<dyn Owner>, Box<dyn Error>> {
        Ok(match self {
            Service::Keyring => Box::new(KeyringOwner::by_state()),
            Service::KeyringGrants => Box::new(KeyringOwner::by_grants()),
            Service::Aws => Box::new(AwsPolicyOwner::start()),
            Service::AwsGrants => Box::new(AwsGrantsOwner::start()),
            Service::Vault => {
                let vault = Vault::Double(Double::start());
                Box::new(VaultOwner::new(vault, TakeAway::Policy))
            }
            Service::Pkcs11 => {
                let token = std::env::current_exe()?.with_file_name("token");
                Box::new(SoftHsm::start(token.to_str().ok_or("a path is text")?))
            }
            Service::Kmip => Box::new(PyKmip::start()),
        })
    }
}

/// The one that owners let the server use their keys for.
const KEYSPACE: &str = "ks";
const ROWS: u64 = 1_000;
/// After the key is back: what had to be opened is open.
const SETTLED: Duration = Duration::from_secs(1);
/// Beyond the lease, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The parts of a round that are measured, in their order.
const PARTS: [&str; 4] = ["quiet", "quiet again", "taking away", "locked"];
const QUIET: usize = 0;

/// Latencies in microseconds.
struct Lap {
    reads: Histogram<u64>,
    writes: Histogram<u64>,
}

impl Lap {
    fn new() -> Result<Lap, Box<dyn Error>> {
        Ok(Lap {
            reads: Histogram::new(3)?,
            writes: Histogram::new(3)?,
        })
    }
}

/// A client of one table, until it is told to stop.
struct Client {
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

/// What a client sees.
struct Seen {
    lap: Mutex<Lap>,
    /// Whether the newest request was refused.
    is_refused: AtomicBool,
    refusals: AtomicU64,
    /// It is to stop.
    is_over: AtomicBool,
}

impl Client {
    async fn start(node: &Node, table: &str, per_second: u64) -> Result<Client, Box<dyn Error>> {
        let mut connection = Connection::open(node.address()).await?;
        let insert = format!("INSERT INTO {KEYSPACE}.{table} (k, v) VALUES (?, ?)");
        let select = format!("SELECT v FROM {KEYSPACE}.{table} WHERE k = ?");
        let insert = connection.prepare(&insert).await?;
        let select = connection.prepare(&select).await?;
        let mut pace = interval(Duration::from_secs(1) / u32::try_from(per_second)?.max(1));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let seen = Arc::new(Seen {
            lap: Mutex::new(Lap::new()?),
            is_refused: AtomicBool::new(false),
            refusals: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        let noted = seen.clone();
        let task = tokio::spawn(async move {
            let mut turn = 0u64;
            while !noted.is_over.load(Ordering::Relaxed) {
                pace.tick().await;
                let key = (turn / 2 % ROWS).to_be_bytes();
                let value = turn.to_be_bytes().repeat(16);
                let is_write = turn.is_multiple_of(2);
                let asked = Instant::now();
                let answer = match is_write {
                    true => connection.execute(&insert, &[&key, &value]).await,
                    false => connection.execute(&select, &[&key]).await,
                };
                let took = asked.elapsed();
                noted.note(is_write, took, answer.expect("the connection holds"));
                turn += 1;
            }
        });
        Ok(Client { seen, task })
    }

    /// What was measured since this was last asked.
    fn lap(&self) -> Result<Lap, Box<dyn Error>> {
        let mut lap = self.seen.lap.lock().expect("no holder of this lock panics");
        Ok(std::mem::replace(&mut lap, Lap::new()?))
    }

    async fn wait_until(&self, is_refused: bool, longest: Duration) -> Result<(), Box<dyn Error>> {
        let begun = Instant::now();
        while self.seen.is_refused.load(Ordering::Relaxed) != is_refused {
            if self.task.is_finished() || begun.elapsed() > longest {
                return Err(format!("still not so: refused = {is_refused}").into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    async fn stop(self) -> Result<u64, Box<dyn Error>> {
        self.seen.is_over.store(true, Ordering::Relaxed);
        self.task.await?;
        Ok(self.seen.refusals.load(Ordering::Relaxed))
    }
}

impl Seen {
    fn note(&self, is_write: bool, took: Duration, answer: Answer) {
        let was_refused = match answer {
            Answer::Refused { code, message } => {
                assert_ne!(code, code::UNPREPARED, "{message}");
                true
            }
            _ => false,
        };
        self.is_refused.store(was_refused, Ordering::Relaxed);
        self.refusals
            .fetch_add(u64::from(was_refused), Ordering::Relaxed);
        let mut lap = self.lap.lock().expect("no holder of this lock panics");
        let kind = match is_write {
            true => &mut lap.writes,
            false => &mut lap.reads,
        };
        kind.record(took.as_micros() as u64)
            .expect("a histogram that grows takes all");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let mut refusals = 0;
    for service in &arguments.service {
        let mut owner = service.owner()?;
        refusals += runtime.block_on(measure(*service, &mut *owner, &arguments))?;
    }
    match refusals {
        0 => Ok(()),
        _ => Err(format!("neighbours were refused {refusals} times").into()),
    }
}

/// Prints the figures of one service. Gives how often the neighbour was refused.
async fn measure(
    service: Service,
    owner: &mut dyn Owner,
    arguments: &Arguments,
) -> Result<u64, Box<dyn Error>> {
    let node = Node::start_with(Settings {
        config: format!("key_lease_s = {}\n{}", arguments.lease, owner.settings()),
        environment: owner.environment(),
        ..Settings::default()
    });
    let first = owner.create_key(&node, "first");
    let second = owner.create_key(&node, "second");
    let mut connection = Connection::open(node.address()).await?;
    connection.run(&format!("CREATE KEYSPACE {KEYSPACE} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}")).await;
    for (table, key) in [("locked", &first), ("neighbour", &second)] {
        let create = format!(
            "CREATE TABLE {KEYSPACE}.{table} (k bigint PRIMARY KEY, v blob) WITH encryption = {{'kms_key': '{key}'}}"
        );
        connection.run(&create).await;
    }
    let longest = Duration::from_secs(arguments.lease) + PATIENCE;
    let part = Duration::from_secs(arguments.seconds);
    let locked = Client::start(&node, "locked", arguments.per_second).await?;
    let neighbour = Client::start(&node, "neighbour", arguments.per_second).await?;
    let mut rounds = Vec::new();
    for _ in 0..arguments.rounds {
        tokio::time::sleep(SETTLED).await;
        neighbour.lap()?;
        tokio::time::sleep(part).await;
        let quiet = neighbour.lap()?;
        tokio::time::sleep(part).await;
        let again = neighbour.lap()?;
        owner.take_away(&node, &first);
        locked.wait_until(true, longest).await?;
        let taking_away = neighbour.lap()?;
        tokio::time::sleep(part).await;
        let away = neighbour.lap()?;
        owner.give_back(&node, &first);
        locked.wait_until(false, longest).await?;
        rounds.push([quiet, again, taking_away, away]);
    }
    locked.stop().await?;
    let refusals = neighbour.stop().await?;
    println!(
        "\n{service:?}: {} rounds, {} requests a second to each table, {refusals} refusals at the neighbour\n",
        arguments.rounds, arguments.per_second
    );
    println!("| neighbour | part | p50, us | p99, us | p99 to its round's quiet | middle half |");
    println!("|---|---|---:|---:|---:|---:|");
    print_rows("reads", &rounds, |lap| &lap.reads);
    print_rows("writes", &rounds, |lap| &lap.writes);
    Ok(refusals)
}

fn print_rows(kind: &str, rounds: &[[Lap; 4]], of: impl Fn(&Lap) -> &Histogram<u64>) {
    let at = |round: &[Lap; 4], part: usize, quantile: f64| {
        of(&round[part]).value_at_quantile(quantile) as f64
    };
    for (part, name) in PARTS.iter().enumerate() {
        let of_all = |figure: &dyn Fn(&[Lap; 4]) -> f64| {
            let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            figures
        };
        let p50 = of_all(&|round| at(round, part, 0.5));
        let p99 = of_all(&|round| at(round, part, 0.99));
        let change = of_all(&|round| {
            let quiet = at(round, QUIET, 0.99).max(1.0);
            (at(round, part, 0.99) / quiet - 1.0) * 100.0
        });
        let share = |figures: &[f64], of_four: usize| {
            let index = (figures.len() * of_four / 4).min(figures.len().saturating_sub(1));
            figures.get(index).copied().unwrap_or(f64::NAN)
        };
        println!(
            "| {kind} | {name} | {:.0} | {:.0} | {:+.1} % | {:+.1} to {:+.1} % |",
            share(&p50, 2),
            share(&p99, 2),
            share(&change, 2),
            share(&change, 1),
            share(&change, 3),
        );
    }
}
