//! The differential runner: the same statements go to Apache Cassandra 5.0.6 and to ours, and every difference is an error, unless `oracle::kept` has its reason.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use palladium_integration_tests::bench::server::{Recipe, Sync};
use palladium_integration_tests::bench::workloads::Setting;
use palladium_integration_tests::node::{Node, Settings};
use palladium_integration_tests::oracle::answer::Answer;
use palladium_integration_tests::oracle::generate::Breadth;
use palladium_integration_tests::oracle::pair::{Difference, Pair};
use palladium_integration_tests::oracle::step::Block;
use palladium_integration_tests::oracle::wire::{Asker, Request};
use palladium_integration_tests::oracle::{generate, script, shrink};

/// Compares Cassandra 5.0.6 and palladium. Example: oracle --seeds 50 --statements 4000
#[derive(Parser)]
#[command(name = "oracle", version)]
struct Arguments {
    /// A Cassandra that runs already; without it one is started.
    #[arg(long, value_name = "ADDR:PORT")]
    cassandra: Option<SocketAddr>,
    /// A palladium that runs already; without it one is started ($PALLADIUM, or a release build).
    #[arg(long, value_name = "ADDR:PORT")]
    palladium: Option<SocketAddr>,
    /// The first seed; without it the clock's. A seed that failed is given here again.
    #[arg(long)]
    seed: Option<u64>,
    /// Seeds, counted up from the first.
    #[arg(long, default_value_t = 50)]
    seeds: u64,
    /// Statements of each seed.
    #[arg(long, default_value_t = 4000)]
    statements: usize,
    /// Statements of a block: after so many the next schema begins.
    #[arg(long, default_value_t = 250)]
    block: usize,
    /// Only this block of each seed.
    #[arg(long)]
    only_block: Option<u64>,
    /// No new block of a seed after so many seconds of them; the hand-written ones come before and take theirs.
    #[arg(long)]
    seconds: Option<u64>,
    /// Folders of hand-written statements; none is the default, which is the repository's own.
    #[arg(long, value_name = "DIR")]
    scripts: Vec<PathBuf>,
    /// No hand-written statements.
    #[arg(long)]
    no_scripts: bool,
    /// Only files whose name contains this.
    #[arg(long, default_value = "")]
    script: String,
    /// Shrink the first difference under each heading, for so many headings.
    #[arg(long, default_value_t = 5)]
    shrink: usize,
    /// Connections that run blocks side by side.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Only tables, their writes and reads; without it also indexes, views, changes of schemas and all else.
    #[arg(long)]
    core: bool,
    /// The core with masked columns, and a role that may not see behind them; a Cassandra that runs already asks for logins and has masking on.
    #[arg(long, conflicts_with = "core")]
    masked: bool,
    /// What the names of its keyspaces begin with: runs that share a server need one each.
    #[arg(long, default_value = "")]
    keyspaces: String,
    /// Show the differences that are kept, too.
    #[arg(long)]
    show_kept: bool,
    /// Show this many examples under each heading.
    #[arg(long, default_value_t = 1)]
    examples: usize,
}

/// What ours has on where columns are masked.
const MASKED_CONFIG: &str = "\
authenticator = \"PasswordAuthenticator\"
authorizer = \"CassandraAuthorizer\"
default_superuser_password = \"cassandra\"
[cassandra]
dynamic_data_masking_enabled = true
";

/// What stands under one heading.
#[derive(Default)]
struct Found {
    count: u64,
    examples: Vec<(Block, Difference)>,
}

#[derive(Default)]
struct Tally {
    blocks: u64,
    cut_short: u64,
    compared: u64,
    accepted: u64,
    kept: BTreeMap<&'static str, u64>,
    found: BTreeMap<String, Found>,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Both end with this function.
    let folder = std::env::temp_dir();
    let started;
    let theirs = match arguments.cassandra {
        Some(address) => address,
        None => {
            let setting = match arguments.masked {
                true => Setting::Masked,
                false => Setting::Ordinary,
            };
            let recipe = Recipe::cassandra(Sync::Periodic, None, &folder).with(setting);
            started = recipe.start()?;
            started.address
        }
    };
    let node;
    let ours = match arguments.palladium {
        Some(address) => address,
        None => {
            let config = match arguments.masked {
                true => MASKED_CONFIG.to_owned(),
                false => runtime.block_on(switches_of(theirs)),
            };
            node = Node::start_with(Settings {
                config,
                ..Settings::default()
            });
            node.address()
        }
    };
    runtime.block_on(run(&arguments, theirs, ours))
}

/// Ours has on what a Cassandra that runs already has on.
async fn switches_of(theirs: SocketAddr) -> String {
    let text =
        "SELECT value FROM system_views.settings WHERE name = 'dynamic_data_masking_enabled'";
    let reply = Asker::new(theirs).query(&Request::plain(text)).await;
    let is_on = match reply.answer {
        Answer::Rows(table) => table
            .rows
            .iter()
            .flatten()
            .any(|value| value.as_deref().is_some_and(|value| value == b"true")),
        _ => false,
    };
    format!("[cassandra]\ndynamic_data_masking_enabled = {is_on}\n")
}

async fn run(
    arguments: &Arguments,
    theirs: SocketAddr,
    ours: SocketAddr,
) -> Result<ExitCode, Box<dyn Error>> {
    let begun = Instant::now();
    let mut tally = Tally::default();
    Pair::new(theirs, ours).answer().await?;
    if arguments.masked {
        Pair::new(theirs, ours).make_reader().await?;
    }
    if !arguments.no_scripts {
        let mut pair = Pair::new(theirs, ours);
        for folder in script_folders(arguments) {
            for block in script::blocks(&folder, &format!("{}ks", arguments.keyspaces))? {
                if block.source.contains(&arguments.script) {
                    let outcome = pair.run(&block).await;
                    tally.add(arguments, &block, outcome);
                }
            }
        }
    }
    if !arguments.no_scripts && tally.compared == 0 {
        return Err("no hand-written statement was compared".into());
    }
    let of_scripts = tally.compared;
    let first = arguments.seed.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0, |now| now.as_secs() % 1_000_000_000)
    });
    let blocks = arguments.statements.div_ceil(arguments.block) as u64;
    let mut jobs = (0..arguments.seeds)
        .map(|seed| first + seed)
        .flat_map(|seed| (0..blocks).map(move |number| (seed, number)))
        .filter(|(_, number)| arguments.only_block.is_none_or(|only| only == *number));
    println!(
        "seeds {first} to {}",
        first + arguments.seeds.saturating_sub(1)
    );
    {
        let seeds_begun = Instant::now();
        let jobs = std::cell::RefCell::new(&mut jobs);
        let tally = std::cell::RefCell::new(&mut tally);
        let workers = (0..arguments.workers).map(|worker| {
            let (jobs, tally) = (&jobs, &tally);
            async move {
                let mut pair = Pair::new(theirs, ours);
                loop {
                    if arguments
                        .seconds
                        .is_some_and(|limit| seeds_begun.elapsed() > Duration::from_secs(limit))
                    {
                        return;
                    }
                    let Some((seed, number)) = jobs.borrow_mut().next() else {
                        return;
                    };
                    let keyspace = format!("{}k{worker}", arguments.keyspaces);
                    let breadth = match (arguments.core, arguments.masked) {
                        (true, _) => Breadth::Core,
                        (_, true) => Breadth::Masked,
                        _ => Breadth::Whole,
                    };
                    let block = generate::block(seed, number, arguments.block, &keyspace, breadth);
                    let outcome = pair.run(&block).await;
                    tally.borrow_mut().add(arguments, &block, outcome);
                }
            }
        });
        futures::future::join_all(workers).await;
    }
    if arguments.seeds > 0 && tally.compared == of_scripts {
        return Err("no statement of a seed was compared".into());
    }
    report(arguments, &tally, &mut Pair::new(theirs, ours)).await;
    Pair::new(theirs, ours).answer().await?;
    println!(
        "{} statements of {} blocks ({} cut short) compared in {} s ({} carried out by both), {} headings of differences, {} kept on purpose",
        tally.compared,
        tally.blocks,
        tally.cut_short,
        begun.elapsed().as_secs(),
        tally.accepted,
        tally.found.len(),
        tally.kept.values().sum::<u64>()
    );
    Ok(match tally.found.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn script_folders(arguments: &Arguments) -> Vec<PathBuf> {
    match arguments.scripts.as_slice() {
        [] => {
            let here = Path::new(env!("CARGO_MANIFEST_DIR"));
            vec![here.join("oracle"), here.join("../server/tests/scripts")]
        }
        some => some.to_vec(),
    }
}

impl Tally {
    fn add(
        &mut self,
        arguments: &Arguments,
        block: &Block,
        outcome: palladium_integration_tests::oracle::pair::Outcome,
    ) {
        self.blocks += 1;
        self.cut_short += u64::from(outcome.is_cut_short);
        self.compared += outcome.compared;
        self.accepted += outcome.accepted;
        for difference in outcome.differences {
            if let Some(why) = difference.kept {
                *self.kept.entry(why).or_default() += 1;
                if !arguments.show_kept {
                    continue;
                }
            }
            let found = self.found.entry(difference.heading.clone()).or_default();
            found.count += 1;
            if found.examples.len() < arguments.examples {
                found.examples.push((block.clone(), difference));
            }
        }
    }
}

/// The most frequent headings come last, where they are seen.
async fn report(arguments: &Arguments, tally: &Tally, pair: &mut Pair) {
    let mut headings: Vec<_> = tally.found.iter().collect();
    headings.sort_by_key(|(_, found)| found.count);
    let shrunk_from = headings.len().saturating_sub(arguments.shrink);
    for (place, (heading, found)) in headings.iter().enumerate() {
        println!("\n{} x {heading}", found.count);
        for (block, difference) in &found.examples {
            println!("  {}, statement {}", block.source, difference.place);
            if place >= shrunk_from && block.source.starts_with("seed") {
                let small = shrink::shrink(pair, block, difference).await;
                let (_, before) = small.steps.split_last().expect("the last one stays");
                for step in before {
                    println!("  {step}");
                }
            }
            println!("  {}", difference.step);
            println!("  theirs: {}", difference.theirs);
            println!("  ours:   {}", difference.ours);
            if let Some(why) = difference.kept {
                println!("  kept:   {why}");
            }
        }
    }
    for (why, count) in &tally.kept {
        println!("{count} x kept: {why}");
    }
}
