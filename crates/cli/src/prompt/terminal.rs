//! The controlling terminal, without echo during a prompt.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::{Errno, ioctl_fionread};
use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr,
    tcsetattr,
};

use crate::sys;

/// The controlling terminal. Dropping it restores its modes.
pub(super) struct Terminal {
    file: File,
    /// The original modes; `None` while they are unchanged.
    original: Option<Termios>,
}

impl Terminal {
    pub(super) fn open() -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
        Ok(Self {
            file,
            original: None,
        })
    }

    /// Disables echo and canonical mode, whose lines have at most 4,095 bytes, fewer than some tokens. From the second call
    /// on, discards pending input.
    ///
    /// Fails with `EINTR` if a signal was caught, such as SIGTTOU of a background process.
    pub(super) fn hide(&mut self) -> Result<(), Errno> {
        let now = tcgetattr(&self.file)?;
        let mut hidden = now.clone();
        let modes = LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON;
        hidden.local_modes.remove(modes);
        hidden.special_codes[SpecialCodeIndex::VMIN] = 1;
        hidden.special_codes[SpecialCodeIndex::VTIME] = 0;
        let when = match self.original {
            None => OptionalActions::Now,
            Some(_) => OptionalActions::Flush,
        };
        // After SIGSTOP, which cannot be caught, the terminal may still have the hidden modes.
        if self.original.is_none() || now.local_modes.intersects(modes) {
            self.original = Some(now);
        }
        tcsetattr(&self.file, when, &hidden)
    }

    /// Restores the original modes, unless another process group is in the foreground. Errors of a closed terminal are
    /// ignored.
    pub(super) fn restore(&mut self) {
        let Some(original) = &self.original else {
            return;
        };
        while self.is_foreground()
            && tcsetattr(&self.file, OptionalActions::Flush, original) == Err(Errno::INTR)
        {}
    }

    fn is_foreground(&self) -> bool {
        sys::is_foreground(&self.file)
    }

    /// Writes all bytes. Fails with `EINTR` if a signal was caught.
    pub(super) fn write(&self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let n = rustix::io::write(&self.file, bytes)?;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    /// Reads input. Fails with `EINTR` if a signal was caught.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        rustix::io::read(&self.file, buffer)
    }

    /// Discards pending input. Returns `true` if there was any.
    pub(super) fn discard_input(&self) -> Result<bool, Errno> {
        let is_pending = ioctl_fionread(&self.file)? > 0;
        if is_pending {
            tcflush(&self.file, QueueSelector::IFlush)?;
        }
        Ok(is_pending)
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
    }
}
