//! The terminal of the command, and ours while the command has it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, getppid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::stdio::stdin;
use rustix::termios::{
    OptionalActions, OutputModes, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

use super::streams::Target;

/// A pseudo-terminal for the command.
pub(super) struct Pty {
    /// The end of this process, which does not block.
    master: OwnedFd,
    /// The end of the command; `None` once it was closed here.
    line: Option<OwnedFd>,
}

impl Pty {
    /// Opens a terminal with the size of `target`. One that is interactive has its modes as well; another one leaves the
    /// processing of output to `target`.
    pub(super) fn open(target: &Target, is_interactive: bool) -> io::Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let line = open(name.as_c_str(), flags, Mode::empty())?;
        ioctl_fionbio(&master, true)?;
        let mut modes = tcgetattr(target)?;
        if !is_interactive {
            modes.output_modes.remove(OutputModes::OPOST);
        }
        tcsetattr(&line, OptionalActions::Now, &modes)?;
        let pty = Self {
            master,
            line: Some(line),
        };
        pty.resize(target)?;
        Ok(pty)
    }

    /// Gives the terminal the size of `target`. The kernel sends SIGWINCH to its foreground.
    pub(super) fn resize(&self, target: &Target) -> io::Result<()> {
        Ok(tcsetwinsize(&self.master, tcgetwinsize(target)?)?)
    }

    /// Returns the end of the command.
    ///
    /// # Errors
    ///
    /// Returns an error if it was closed.
    pub(super) fn line(&self) -> io::Result<&OwnedFd> {
        let line = self.line.as_ref();
        line.ok_or_else(|| io::Error::other("the terminal of the command is closed"))
    }

    pub(super) fn close_line(&mut self) {
        self.line = None;
    }
}

impl AsFd for Pty {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }
}

/// Our terminal, whose input goes to the command while this job is in the foreground. Dropping it restores its modes.
pub(super) struct Keyboard {
    /// The process of this job in the session of our terminal.
    supervisor: Option<Pid>,
    /// The original modes while the terminal is raw.
    original: Option<Termios>,
}

impl Keyboard {
    pub(super) fn new() -> Self {
        Self {
            supervisor: getppid(),
            original: None,
        }
    }

    /// Makes the terminal raw if this job is in the foreground.
    pub(super) fn try_enter(&mut self) -> io::Result<()> {
        if !self.is_raw() && self.is_foreground() {
            let original = tcgetattr(stdin())?;
            let mut raw = original.clone();
            raw.make_raw();
            tcsetattr(stdin(), OptionalActions::Now, &raw)?;
            self.original = Some(original);
        }
        Ok(())
    }

    /// Returns `true` if the terminal is raw: this job was in the foreground when it was last looked at.
    pub(super) fn is_raw(&self) -> bool {
        self.original.is_some()
    }

    /// Restores the modes, unless another job has the terminal.
    pub(super) fn leave(&mut self) {
        let original = self.original.take();
        if let Some(original) = original.filter(|_| self.is_foreground()) {
            // A terminal that is closed has no modes.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &original);
        }
    }

    /// Returns `true` if the group of the supervisor is in the foreground of its terminal, which only `/proc` shows to a process of another
    /// session. Without `/proc` it is taken to be.
    pub(super) fn is_foreground(&self) -> bool {
        let stat = self.supervisor.and_then(|supervisor| {
            fs::read_to_string(format!("/proc/{}/stat", supervisor.as_raw_nonzero())).ok()
        });
        stat.is_none_or(|stat| is_in_foreground(&stat))
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Compares the fields 5 and 8 of `/proc/PID/stat`, the process group and that in the foreground. The second field, the program's
/// name in parentheses, may contain anything.
fn is_in_foreground(stat: &str) -> bool {
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = |index| fields.split_ascii_whitespace().nth(index);
    field(2) == field(5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_in_the_foreground_is_found_behind_any_name() {
        assert!(is_in_foreground("7 (a) 9) S 1 7 3 34816 7 4194560 1"));
        assert!(!is_in_foreground("7 (a 7) S 1 7 3 34816 12 4194560 1"));
    }
}
