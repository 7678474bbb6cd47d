//! What the process asks of the system for itself.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::failure::Failure;

/// Sees to it that a crash leaves no core file, which would hold the secrets that the process has read.
///
/// A child of `keyway run` gets its own limit back, see [`CoreLimit`].
pub(crate) fn forbid_core_dumps() -> Result<(), Failure> {
    let now = getrlimit(Resource::Core);
    let none = Rlimit {
        current: Some(0),
        maximum: now.maximum,
    };
    setrlimit(Resource::Core, none).map_err(|error| {
        Failure::error(
            format_args!("core dumps cannot be turned off: {error}"),
            "Ask whoever confines this process to let it lower RLIMIT_CORE",
        )
    })
}
