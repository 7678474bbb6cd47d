//! Hardening of the process: core dumps and inspection by other processes.

use std::sync::OnceLock;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

use crate::failure::Failure;

/// The inherited limit on core files.
static INHERITED: OnceLock<Rlimit> = OnceLock::new();

/// Disables core dumps, which would hold the secrets that the process has read.
///
/// # Errors
///
/// Returns a [`Failure`] if the limit cannot be lowered. Only a sandbox can forbid that.
pub(crate) fn forbid_core_dumps() -> Result<(), Failure> {
    let inherited = INHERITED.get_or_init(|| getrlimit(Resource::Core));
    let none = Rlimit {
        current: Some(0),
        maximum: inherited.maximum,
    };
    setrlimit(Resource::Core, none).map_err(|error| {
        Failure::error(
            format_args!("core dumps cannot be disabled: {error}"),
            "Allow this process to lower RLIMIT_CORE in its sandbox or service unit",
        )
    })
}

/// Reverts [`forbid_core_dumps`], for a process that holds no secret or is about to execute another program, which
/// inherits the user's limit.
pub(crate) fn restore_core_limit() {
    if let Some(inherited) = INHERITED.get() {
        // On an error core dumps stay disabled, which is safe.
        let _ = setrlimit(Resource::Core, *inherited);
    }
}

/// Denies other programs of the same user access to the process's memory and `/proc` entries. For the daemon, which
/// reads every secret.
///
/// # Errors
///
/// Returns a [`Failure`] if the system call fails.
pub(crate) fn forbid_inspection() -> Result<(), Failure> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| {
        Failure::error(
            format_args!("this process cannot be made undumpable: {error}"),
            "Allow this process to call prctl in its sandbox or service unit",
        )
    })
}
