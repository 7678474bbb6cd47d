//! What the process asks of the system for itself.

use std::sync::OnceLock;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

use crate::failure::Failure;

/// The limit on core files that the process was started with.
static INHERITED: OnceLock<Rlimit> = OnceLock::new();

/// Sees to it that a crash leaves no core file, which would hold the secrets that the process has read.
///
/// # Errors
///
/// The system refuses, which no usual system does: lowering a limit is everybody's right.
pub(crate) fn forbid_core_dumps() -> Result<(), Failure> {
    let inherited = INHERITED.get_or_init(|| getrlimit(Resource::Core));
    let none = Rlimit {
        current: Some(0),
        maximum: inherited.maximum,
    };
    setrlimit(Resource::Core, none).map_err(|error| {
        Failure::error(
            format_args!("core dumps cannot be turned off: {error}"),
            "Ask whoever confines this process to let it lower RLIMIT_CORE",
        )
    })
}

/// Takes back [`forbid_core_dumps`], for a process that holds no secret, or is about to become another program: whether
/// that may leave core files is not ours to decide.
pub(crate) fn restore_core_limit() {
    if let Some(inherited) = INHERITED.get() {
        // Where this fails there are no core files, which harms nobody.
        let _ = setrlimit(Resource::Core, *inherited);
    }
}

/// Closes the process's memory and its entries in `/proc` to other programs of the same user. For the daemon, which sees
/// every secret.
pub(crate) fn forbid_inspection() -> Result<(), Failure> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| {
        Failure::error(
            format_args!("this process cannot be closed to debuggers: {error}"),
            "Ask whoever confines this process to let it call prctl",
        )
    })
}
