//! Other programs that a command calls, each bounded in time.

use std::io;
use std::process::{self, Output, Stdio};
use std::time::Duration;

use keyway_local::format_duration;
use tokio::process::Command;
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::event_loop;

/// Runs a program without input until it ends, and kills it after `limit`. Blocks.
///
/// # Errors
///
/// Returns the error of the start, and [`io::ErrorKind::TimedOut`] for a program that did not end within the limit.
///
/// # Panics
///
/// Panics within an event loop.
pub(crate) fn output(command: process::Command, limit: Duration) -> io::Result<Output> {
    let runtime = event_loop::try_build(&mut Builder::new_current_thread())?;
    let mut command = Command::from(command);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = runtime.block_on(async { timeout(limit, command.output()).await });
    output.unwrap_or_else(|_elapsed| {
        let text = format!("not ended after {}", format_duration(limit));
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_end_is_an_error_at_the_limit() {
        let mut command = process::Command::new("sleep");
        command.arg("600");
        let error = output(command, Duration::from_millis(10)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(error.to_string(), "not ended after 10 ms");
    }
}
