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
    pub purpose: Purpose,
}

impl Step {
    /// A text that is sent as it is.
    pub fn plain(purpose: Purpose, text: impl Into<String>) -> Step {
        Step {
            text: text.into(),
            values: Vec::new(),
            prepared: false,
            page_rows: None,
            purpose,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};", self.text)?;
        if self.prepared {
            f.write_str(" -- prepared")?;
        }
        if let Some(rows) = self.page_rows {
            write!(f, " -- pages of {rows}")?;
        }
        for value in &self.values {
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
