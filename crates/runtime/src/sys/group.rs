//! The process group of a process.

use rustix::process::Pid;

/// Returns the process group of `pid`, which for a process of a launched plugin is the pid of that plugin; `None` if the process
/// has ended, or if its group was made outside of this pid namespace and so is not that of a plugin.
pub(crate) fn process_group(pid: Pid) -> Option<Pid> {
    // Not `rustix`, which excludes the 0 that the kernel returns for a group outside of the namespace.
    // SAFETY: the call has no requirement.
    let group = unsafe { libc::getpgid(pid.as_raw_nonzero().get()) };
    (group > 0).then(|| Pid::from_raw(group)).flatten()
}

#[cfg(test)]
mod tests {
    use rustix::process::{getpgrp, getpid};

    use super::*;

    #[test]
    fn a_process_that_has_ended_has_no_group() {
        assert_eq!(process_group(getpid()), Some(getpgrp()));
        let mut child = std::process::Command::new("true").spawn().expect("a child");
        let pid = Pid::from_child(&child);
        child.wait().expect("its end");
        assert_eq!(process_group(pid), None);
    }
}
