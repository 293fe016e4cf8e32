//! Hand-written statements: `integration-tests/oracle/*.cql`, a file for each chapter, and the golden scripts of `server/tests/scripts`.
//!
//! ```text
//! SELECT * FROM t;            a statement, up to the semicolon that ends its line
//! -- whatever                 a remark, or, in a golden script, the answer; neither is of interest: Cassandra is asked
//! -- @pages 2                 from here on in pages of two rows; 0: without pages
//! -- @prepare                 the next statement is prepared and then executed
//! -- @now 1900000000          from here on it is this second; 0: whatever the servers' clocks say
//! -- ! @ours why              the first line of a script that no Cassandra is asked about
//! ```

use std::io;
use std::path::Path;

use super::step::{Block, Purpose, Step};

/// One block for each file of a folder, in the order of their names.
pub fn blocks(folder: &Path, keyspace: &str) -> io::Result<Vec<Block>> {
    let mut paths: Vec<_> = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "cql"));
    paths.sort();
    let texts = paths
        .iter()
        .map(|path| std::fs::read_to_string(path).map(|text| (path, text)))
        .collect::<io::Result<Vec<_>>>()?;
    let asked = texts
        .into_iter()
        .filter(|(_, text)| !text.starts_with("-- ! @ours"));
    asked
        .map(|(path, text)| {
            let text = match keyspace {
                OWN_KEYSPACE => text,
                other => renamed(&text, other),
            };
            Ok(Block {
                source: path
                    .file_name()
                    .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
                keyspace: keyspace.to_owned(),
                steps: steps(&text),
                tables: Vec::new(),
            })
        })
        .collect()
}

/// The keyspace that hand-written statements name.
const OWN_KEYSPACE: &str = "ks";

/// The same text about another keyspace.
fn renamed(text: &str, keyspace: &str) -> String {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let mut renamed = String::new();
    let mut rest = text;
    while let Some(place) = rest.find(OWN_KEYSPACE) {
        let (before, after) = (&rest[..place], &rest[place + OWN_KEYSPACE.len()..]);
        renamed.push_str(before);
        let whole = !before.ends_with(is_word) && !after.starts_with(is_word);
        renamed.push_str(if whole { keyspace } else { OWN_KEYSPACE });
        rest = after;
    }
    renamed + rest
}

/// The statements of a text.
pub fn steps(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut statement = String::new();
    let (mut page_rows, mut prepared, mut now_seconds) = (None, false, None);
    for line in text.lines() {
        if statement.is_empty() && (line.trim().is_empty() || line.starts_with("--")) {
            if let Some(rows) = line.strip_prefix("-- @pages ") {
                page_rows = rows.trim().parse().ok().filter(|rows| *rows > 0);
            }
            if let Some(now) = line.strip_prefix("-- @now ") {
                now_seconds = now.trim().parse().ok().filter(|now| *now > 0);
            }
            prepared |= line.starts_with("-- @prepare");
            continue;
        }
        if !statement.is_empty() {
            statement.push('\n');
        }
        statement.push_str(line);
        if let Some(whole) = statement.strip_suffix(';') {
            steps.push(Step {
                prepared: std::mem::take(&mut prepared),
                page_rows,
                now_seconds,
                ..Step::plain(purpose(whole), whole)
            });
            statement.clear();
        }
    }
    steps
}

fn purpose(text: &str) -> Purpose {
    let first = text.split_whitespace().next().unwrap_or_default();
    match first.to_ascii_uppercase().as_str() {
        "SELECT" | "DESCRIBE" | "DESC" | "LIST" => Purpose::Read,
        // A script goes on after a schema statement that was answered differently: most of it does not hang on that one.
        _ => Purpose::Write,
    }
}
