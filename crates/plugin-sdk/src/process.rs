//! What a plugin does to its own process: it is not dumpable, its panics show no values, its threads are counted.

use std::io::{self, Write};
use std::panic::PanicHookInfo;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Closes the process's memory and `/proc` entries to other programs of the same user, and turns core dumps off.
pub(crate) fn harden() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    Ok(())
}

/// How many threads this process has.
pub(crate) fn thread_count() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// Lets a panic say where it happened but not what it says: the text of a panic may hold a value.
///
/// With `RUST_BACKTRACE` set, which is a person looking for a bug, everything is shown.
pub(crate) fn quiet_panics() {
    if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
        return;
    }
    std::panic::set_hook(Box::new(|info| {
        // With stderr gone there is nobody to tell.
        let _ = writeln!(io::stderr(), "{}", describe(info));
    }));
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let place = info
        .location()
        .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    format!(
        "ERROR the plugin panicked at {place}; set RUST_BACKTRACE=1 to see its message, which may hold secrets"
    )
}
