//! Hardening of the process: core dumps and inspection by other processes.

use std::sync::OnceLock;

use keyway_local::CoreLimit;

use crate::failure::Failure;

/// The inherited limit on core files.
static INHERITED: OnceLock<CoreLimit> = OnceLock::new();

/// Disables core dumps, which would hold the secrets that the process has read.
///
/// # Errors
///
/// Returns a [`Failure`] if the limit cannot be lowered. Only a sandbox can forbid that.
pub(crate) fn forbid_core_dumps() -> Result<(), Failure> {
    let inherited = keyway_local::suspend_core_files().map_err(|error| {
        Failure::error(
            format_args!("core dumps cannot be disabled: {error}"),
            "Allow this process to lower RLIMIT_CORE in its sandbox or service unit",
        )
    })?;
    // The limit of the first call is the one that the process was started with.
    INHERITED.get_or_init(|| inherited);
    Ok(())
}

/// Reverts [`forbid_core_dumps`], for a process that holds no secret or is about to execute another program, which
/// inherits the user's limit.
pub(crate) fn restore_core_limit() {
    if let Some(inherited) = INHERITED.get() {
        // On an error core dumps stay disabled, which is safe.
        let _ = inherited.restore();
    }
}

/// Denies other programs of the same user access to the process's memory and `/proc` entries. For the daemon, which
/// reads every secret.
///
/// # Errors
///
/// Returns a [`Failure`] if the system call fails.
pub(crate) fn forbid_inspection() -> Result<(), Failure> {
    keyway_local::forbid_inspection().map_err(|error| {
        Failure::error(
            format_args!("this process cannot be made undumpable: {error}"),
            "Allow this process to call prctl in its sandbox or service unit",
        )
    })
}
