//! Protects the secrets in a process's memory from other programs of the same user.

use std::io;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// Closes the memory of this process, and its entries in `/proc`, to other programs of the same user. It leaves no core file
/// either.
///
/// # Errors
///
/// Returns the error of the operating system.
pub fn forbid_inspection() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Turns core files off for good: they would hold the secrets that the process has read. Children inherit it.
///
/// # Errors
///
/// Returns the error of the operating system.
pub fn forbid_core_files() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    Ok(setrlimit(Resource::Core, none)?)
}

/// A limit on core files.
#[derive(Debug, Clone)]
pub struct CoreLimit(Rlimit);

/// Turns core files off until the former limit, which is returned, is [restored](CoreLimit::restore).
///
/// # Errors
///
/// Returns the error of the operating system.
pub fn suspend_core_files() -> io::Result<CoreLimit> {
    let former = getrlimit(Resource::Core);
    let none = Rlimit {
        current: Some(0),
        maximum: former.maximum,
    };
    setrlimit(Resource::Core, none)?;
    Ok(CoreLimit(former))
}

impl CoreLimit {
    /// Sets this limit again, for a process that holds no secret or is about to execute another program.
    ///
    /// # Errors
    ///
    /// Returns the error of the operating system.
    pub fn restore(&self) -> io::Result<()> {
        Ok(setrlimit(Resource::Core, self.0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspended_limit_is_restored() {
        let former = suspend_core_files().expect("lowered");
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        former.restore().expect("raised again");
        assert_eq!(getrlimit(Resource::Core), former.0);
    }
}
