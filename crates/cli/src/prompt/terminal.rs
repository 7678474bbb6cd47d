//! The controlling terminal, without echo while a question stands.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::{Errno, ioctl_fionread};
use rustix::process::getpgrp;
use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr,
    tcgetpgrp, tcsetattr,
};

/// The controlling terminal. Dropped, it shows again what is typed.
pub(super) struct Terminal {
    file: File,
    /// The modes of the terminal before it was hidden; `None` while it is as it was found.
    shown: Option<Termios>,
}

impl Terminal {
    pub(super) fn open() -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
        Ok(Self { file, shown: None })
    }

    /// Hides what is typed from now on, and returns it as it comes instead of by line: the lines that a terminal collects have
    /// at most 4,095 bytes, and tokens are longer. The second time and later, drops what was typed before.
    ///
    /// Fails with `EINTR` if a signal was caught, for one because this is not the foreground process.
    pub(super) fn hide(&mut self) -> Result<(), Errno> {
        let now = tcgetattr(&self.file)?;
        let mut hidden = now.clone();
        let modes = LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON;
        hidden.local_modes.remove(modes);
        hidden.special_codes[SpecialCodeIndex::VMIN] = 1;
        hidden.special_codes[SpecialCodeIndex::VTIME] = 0;
        let when = match self.shown {
            None => OptionalActions::Now,
            Some(_) => OptionalActions::Flush,
        };
        // After SIGSTOP, of which no program hears, a terminal may still be as it was hidden.
        if self.shown.is_none() || now.local_modes.intersects(modes) {
            self.shown = Some(now);
        }
        tcsetattr(&self.file, when, &hidden)
    }

    /// Shows what is typed, as before. A terminal that another process has in the foreground is left to that process, and one
    /// that is gone needs nothing.
    pub(super) fn show(&mut self) {
        let Some(shown) = &self.shown else {
            return;
        };
        while self.is_foreground()
            && tcsetattr(&self.file, OptionalActions::Flush, shown) == Err(Errno::INTR)
        {}
    }

    fn is_foreground(&self) -> bool {
        tcgetpgrp(&self.file) == Ok(getpgrp())
    }

    /// Writes all of it. Fails with `EINTR` if a signal was caught.
    pub(super) fn write(&self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let n = rustix::io::write(&self.file, bytes)?;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    /// Reads what has been typed. Fails with `EINTR` if a signal was caught.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        rustix::io::read(&self.file, buffer)
    }

    /// Drops what was typed and not read, and returns whether there was anything.
    pub(super) fn drop_input(&self) -> Result<bool, Errno> {
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
        self.show();
    }
}
