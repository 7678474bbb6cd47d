//! The number of descriptors that this process may open.

use std::io;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limits that this process was started with.
static FORMER: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit to the hard one, for the life of the process: each connection takes two descriptors. Plugins get the
/// [former](FormerLimit) limit, which programs that use `select` rely on. Further calls change nothing.
pub(crate) fn raise_descriptor_limit() {
    let former = *FORMER.get_or_init(|| getrlimit(Resource::Nofile));
    let raised = Rlimit {
        current: former.maximum,
        ..former
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(error = %io::Error::from(error), "limit of open files not raised");
    }
    tracing::debug!(limit = descriptor_limit(), "limit of open files");
}

/// Returns how many descriptors this process may have open; `u64::MAX` if that is not limited.
pub(crate) fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Returns how many descriptors this process has open; 0 if `/proc` does not show them.
pub(crate) fn open_descriptors() -> u64 {
    // The listing has one of its own.
    let entries = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    (entries as u64).saturating_sub(1)
}

/// The limits before [`raise_descriptor_limit`], for a child.
#[derive(Debug, Clone, Copy)]
pub(super) struct FormerLimit(Rlimit);

impl FormerLimit {
    /// Returns the former limits; the current ones if they were not raised.
    pub(super) fn get() -> Self {
        Self(
            FORMER
                .get()
                .copied()
                .unwrap_or_else(|| getrlimit(Resource::Nofile)),
        )
    }

    /// Sets the limits in the calling process: one plain system call. Open descriptors above the limit stay open.
    pub(super) fn restore(self) -> io::Result<()> {
        Ok(setrlimit(Resource::Nofile, self.0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_and_the_former_one_is_known() {
        raise_descriptor_limit();
        raise_descriptor_limit();
        let now = getrlimit(Resource::Nofile);
        assert_eq!(now.current, now.maximum);
        assert_eq!(descriptor_limit(), now.current.unwrap_or(u64::MAX));
        assert_eq!(FormerLimit::get().0, *FORMER.get().expect("noted"));
    }
}
