//! Standard output and error of the program and its commands. `println!` panics where nothing can be written; here the work goes on.
//!
//! What must hold: a command whose lines did not arrive ends with code 2 and says why on standard error, but for a reader who left early (`| head`): he wanted no
//! more, and the command ends as it would have.

use std::fmt::{Arguments, Display};
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

/// Why a line could not be written; the first time. No line is tried after that.
static FAILURE: Mutex<Option<io::Error>> = Mutex::new(None);

/// Writes a line to standard output: what `println!` takes.
#[macro_export]
macro_rules! say {
    ($($what:tt)*) => { $crate::output::say(format_args!($($what)*)) };
}

/// Behind [`say!`](crate::say).
pub fn say(line: Arguments<'_>) {
    let mut failure = FAILURE.lock().unwrap_or_else(PoisonError::into_inner);
    if failure.is_none() {
        *failure = writeln!(io::stdout(), "{line}").err();
    }
}

/// Writes a line to standard error. Where that cannot be written either, nobody listens.
pub fn complain(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// How a command ends that would end with `code`.
pub fn ended(code: ExitCode) -> ExitCode {
    let failure = FAILURE.lock().unwrap_or_else(PoisonError::into_inner);
    match &*failure {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => {
            complain(format_args!(
                "palladium: standard output cannot be written: {error}"
            ));
            ExitCode::from(2)
        }
        _ => code,
    }
}
