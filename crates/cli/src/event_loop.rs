//! The event loop of a command, and checks for the shortages at which tokio would panic.

use std::fs::File;
use std::io;
use std::thread;

use tokio::runtime::{Builder, Runtime};

use crate::failure::Failure;

/// More descriptors than an event loop and its signal handling take.
const N_DESCRIPTORS: usize = 10;

/// Builds an event loop with I/O and time.
///
/// # Errors
///
/// Returns a [`Failure`] if the process may not open enough files.
pub(crate) fn build(builder: &mut Builder) -> Result<Runtime, Failure> {
    try_build(builder).map_err(|error| {
        Failure::error(
            format_args!("cannot create an event queue: {error}"),
            "Check how many files this process may open",
        )
    })
}

/// As [`build`], with the error of the operating system.
pub(crate) fn try_build(builder: &mut Builder) -> io::Result<Runtime> {
    check_descriptors()?;
    builder.enable_all().build()
}

/// Checks that the process may open the descriptors: tokio panics without those for signals.
fn check_descriptors() -> io::Result<()> {
    (0..N_DESCRIPTORS)
        .map(|_| File::open("/dev/null"))
        .collect::<io::Result<Vec<_>>>()
        .map(drop)
}

/// Starts the first thread for blocking work: without any, tokio panics where the system has no room for one.
///
/// # Errors
///
/// Returns a [`Failure`] if this user may not have another thread.
///
/// # Panics
///
/// Panics outside of an event loop.
pub(crate) fn start_first_thread() -> Result<(), Failure> {
    let thread = thread::Builder::new().spawn(|| {});
    let thread = thread.map_err(|error| {
        Failure::error(
            format_args!("cannot start a thread for reading files: {error}"),
            "Check the limits of this user for processes",
        )
    })?;
    // It does nothing that could panic.
    let _ = thread.join();
    tokio::task::spawn_blocking(|| {});
    Ok(())
}
