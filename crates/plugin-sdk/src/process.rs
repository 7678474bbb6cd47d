//! Hardening of the plugin's own process: no dumps, no values in panic messages; and its number of threads.

use std::io;
use std::panic::PanicHookInfo;

use keyway_local::{forbid_core_files, forbid_inspection};

use crate::log;

/// Denies other programs of the same user access to the process's memory and `/proc` entries, and disables core dumps.
pub(crate) fn harden() -> io::Result<()> {
    forbid_inspection()?;
    forbid_core_files()
}

/// Returns the number of threads of this process.
pub(crate) fn thread_count() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// Installs a panic hook that reports the location of a panic but not its message, which may hold a value.
///
/// Does nothing if `RUST_BACKTRACE` is set, which requests the message to find a bug.
pub(crate) fn redact_panics() {
    if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
        return;
    }
    std::panic::set_hook(Box::new(|info| {
        log::write_line(&describe(info));
        if cfg!(panic = "abort") {
            log::flush();
        }
    }));
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let location = info
        .location()
        .map_or_else(|| "an unknown location".to_owned(), ToString::to_string);
    format!(
        "ERROR the plugin panicked at {location}; set RUST_BACKTRACE=1 to see its message, which may hold secrets\n"
    )
}
