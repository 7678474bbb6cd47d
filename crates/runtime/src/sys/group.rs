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
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_has_a_group_until_it_has_ended() {
        let mut child = Command::new("true")
            .process_group(0)
            .spawn()
            .expect("a child");
        let pid = Pid::from_child(&child);
        assert_eq!(process_group(pid), Some(pid));
        child.wait().expect("its end");
        assert_eq!(process_group(pid), None);
    }
}
