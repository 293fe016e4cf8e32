//! Instructions that the hot paths take for one operation: the guard against slow regressions, because they are the same on a loaded machine and a quiet one.
//!
//! The program runs itself under callgrind, where one thread does all the work of a server that listens to nobody, and compares what each path took with
//! `instructions.txt` beside this file. Growth beyond the tolerance fails; what has become cheaper is told, so that it is written down.
//!
//! ```text
//! cargo bench -p palladium-integration-tests --bench instructions              compare
//! cargo bench -p palladium-integration-tests --bench instructions -- --write   write the file again
//! ```
//!
//! What is not counted: the kernel's instructions, waiting, and other threads (the log's own one, which writes and syncs).

mod paths;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use palladium::wiping::WipingAllocator;

/// What `palladium` has.
#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator;

/// How much more an operation may take than is written down: hash seeds and the like move it by one in a hundred.
const TOLERANCE: f64 = 0.05;

type Counts = BTreeMap<String, u64>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if has("--inside") {
        paths::run_all();
        return ExitCode::SUCCESS;
    }
    let compared = count().and_then(|counts| match has("--write") {
        true => write(&counts).map(|()| true),
        false => Ok(compare(&counts, &read()?)),
    });
    match compared {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs this program under callgrind once for each path, and counts nothing else of it.
fn count() -> io::Result<Counts> {
    let mut counts = Counts::new();
    for (name, operations) in paths::ALL {
        counts.insert(name.to_owned(), instructions_of(name)? / operations);
    }
    Ok(counts)
}

fn instructions_of(name: &str) -> io::Result<u64> {
    let folder = tempfile::tempdir()?;
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg("--callgrind-out-file=out")
        .arg(format!("--toggle-collect=*measured_{name}*"))
        .arg(std::env::current_exe()?)
        .arg("--inside")
        .current_dir(folder.path())
        .output()
        .map_err(|error| io::Error::other(format!("valgrind: {error}")))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(io::Error::other(said));
    }
    let text = fs::read_to_string(folder.path().join("out"))?;
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("summary:")?.trim().parse::<u64>().ok());
    total
        .filter(|total| *total > 0)
        .ok_or_else(|| io::Error::other(format!("callgrind saw no measured_{name}: {said}")))
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/instructions.txt")
}

fn read() -> io::Result<Counts> {
    let text = fs::read_to_string(file())?;
    let counts = text.lines().filter_map(|line| {
        let (name, count) = line.split_once(' ')?;
        Some((name.to_owned(), count.trim().parse().ok()?))
    });
    Ok(counts.collect())
}

fn write(counts: &Counts) -> io::Result<()> {
    let lines = counts
        .iter()
        .map(|(name, count)| format!("{name} {count}\n"));
    let text: String = lines.collect();
    print!("{text}");
    fs::write(file(), text)
}

/// Whether no path takes more than it may. The last line names those that do.
fn compare(counts: &Counts, known: &Counts) -> bool {
    let mut wrong: Vec<String> = Vec::new();
    for (name, count) in counts {
        let Some(known) = known.get(name) else {
            println!("{name}: {count} instructions, and nothing is written down: --write");
            wrong.push(format!("{name} (unknown before)"));
            continue;
        };
        let change = *count as f64 / *known as f64 - 1.0;
        let verdict = match change {
            change if change > TOLERANCE => {
                wrong.push(format!("{name} by {:.1} %", change * 100.0));
                "TOO MANY. If it must be so, say why and --write"
            }
            change if change < -TOLERANCE => "fewer: --write, so that it stays so",
            _ => "as it was",
        };
        println!(
            "{name}: {count} instructions, {known} written down, {:+.1} %: {verdict}",
            change * 100.0
        );
    }
    let gone = known.keys().filter(|name| !counts.contains_key(*name));
    wrong.extend(gone.map(|name| format!("{name} (not counted any more)")));
    if !wrong.is_empty() {
        println!("too dear: {}", wrong.join(", "));
    }
    wrong.is_empty()
}
