//! A step: one statement with its values and the way in which it is sent; and a block of steps, which begins with an empty keyspace.

use std::fmt;

use super::wire::Value;

/// What a step does to a server, as far as the runner has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Without its schema the rest of a block has no meaning.
    Schema,
    Write,
    Read,
    /// Wrong on purpose, most likely.
    Wrong,
}

/// One statement.
#[derive(Debug, Clone)]
pub struct Step {
    pub text: String,
    pub values: Vec<Value>,
    /// Prepared first, then executed.
    pub prepared: bool,
    pub page_rows: Option<i32>,
    /// The moment of the statement, where the servers' clocks do not serve.
    pub now_seconds: Option<i32>,
    /// A BATCH of the protocol, which `text` then only names.
    pub batch: Option<Batch>,
    /// Asked by the role that may not see behind masks.
    pub by_reader: bool,
    pub purpose: Purpose,
}

/// The kinds of BATCH, as the protocol numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchKind {
    Logged = 0,
    Unlogged = 1,
    Counter = 2,
}

/// A BATCH of the protocol.
#[derive(Debug, Clone)]
pub struct Batch {
    pub kind: BatchKind,
    pub timestamp: Option<i64>,
    pub members: Vec<Member>,
}

/// One statement of a BATCH.
#[derive(Debug, Clone)]
pub struct Member {
    pub text: String,
    pub values: Vec<Value>,
    pub prepared: bool,
}

impl Step {
    /// A text that is sent as it is.
    pub fn plain(purpose: Purpose, text: impl Into<String>) -> Step {
        Step {
            text: text.into(),
            values: Vec::new(),
            prepared: false,
            page_rows: None,
            now_seconds: None,
            batch: None,
            by_reader: false,
            purpose,
        }
    }

    /// A BATCH of the protocol.
    pub fn batch(batch: Batch) -> Step {
        let texts: Vec<&str> = batch
            .members
            .iter()
            .map(|member| member.text.as_str())
            .collect();
        let text = format!("{:?} BATCH of {}", batch.kind, texts.join("; "));
        Step {
            batch: Some(batch),
            ..Step::plain(Purpose::Write, text)
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(batch) = &self.batch {
            write!(f, "{:?} BATCH", batch.kind)?;
            if let Some(timestamp) = batch.timestamp {
                write!(f, " at {timestamp}")?;
            }
            for member in &batch.members {
                write!(f, "\n    {};", member.text)?;
                notes(f, member.prepared, &member.values)?;
            }
        } else {
            write!(f, "{};", self.text)?;
            notes(f, self.prepared, &self.values)?;
        }
        if let Some(rows) = self.page_rows {
            write!(f, " -- pages of {rows}")?;
        }
        if let Some(now) = self.now_seconds {
            write!(f, " -- now {now}")?;
        }
        if self.by_reader {
            f.write_str(" -- asked by reader")?;
        }
        Ok(())
    }
}

fn notes(f: &mut fmt::Formatter<'_>, prepared: bool, values: &[Value]) -> fmt::Result {
    if prepared {
        f.write_str(" -- prepared")?;
    }
    for value in values {
        match value {
            Value::Null => f.write_str(" -- null")?,
            Value::Unset => f.write_str(" -- unset")?,
            Value::Bytes(bytes) => {
                f.write_str(" -- 0x")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            }
        }
    }
    Ok(())
}

/// Steps that belong together.
#[derive(Debug, Clone)]
pub struct Block {
    /// Where it comes from: a file, or a seed.
    pub source: String,
    pub keyspace: String,
    pub steps: Vec<Step>,
    /// What is emptied on both servers after a difference, so that one difference is not counted again with each read.
    pub tables: Vec<String>,
}
