//! One stream from the command to standard output or standard error, with the values in it replaced.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::io::{Errno, read, write};

use super::filter::{Filter, Values};
use super::streams::{Source, Target};
use super::terminal::Pty;

/// Number of bytes of one read, and of one write: a pipe that is ready takes so many without blocking.
const CHUNK_LEN: usize = 4096;

/// One stream. It reads only after it has written all that it has.
pub(super) struct Channel<'a> {
    /// `None` after the end of the stream.
    source: Option<Source>,
    target: Target,
    filter: Filter<'a>,
    output: Vec<u8>,
    /// When bytes that may be the beginning of a value are passed on.
    deadline: Option<Instant>,
}

impl<'a> Channel<'a> {
    pub(super) fn new(source: Source, target: Target, values: &'a Values) -> Self {
        Self {
            source: Some(source),
            target,
            filter: Filter::new(values),
            output: Vec::new(),
            deadline: None,
        }
    }

    /// Returns the terminal of the command, with the one that it stands for.
    pub(super) fn pty(&self) -> Option<(&Pty, &Target)> {
        match &self.source {
            Some(Source::Pty(pty)) => Some((pty, &self.target)),
            _ => None,
        }
    }

    /// Returns what to read from, if there is nothing to write.
    pub(super) fn readable(&self) -> Option<BorrowedFd<'_>> {
        let source = self.source.as_ref().filter(|_| self.output.is_empty());
        source.map(AsFd::as_fd)
    }

    /// Returns what to write to, if there is something to write.
    pub(super) fn writable(&self) -> Option<BorrowedFd<'_>> {
        (!self.output.is_empty()).then(|| self.target.as_fd())
    }

    /// Returns `true` if nothing will be written any more.
    pub(super) fn has_ended(&self) -> bool {
        self.source.is_none() && self.output.is_empty()
    }

    /// Returns how long until [`expire`](Self::expire) is due.
    pub(super) fn timeout(&self, now: Instant) -> Option<Duration> {
        let deadline = self.deadline.filter(|_| self.output.is_empty())?;
        Some(deadline.saturating_duration_since(now))
    }

    /// Passes on what was held for long enough.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.timeout(now).is_some_and(|timeout| timeout.is_zero()) {
            self.flush();
        }
    }

    /// Passes on all that is held.
    pub(super) fn flush(&mut self) {
        self.deadline = None;
        self.filter.flush(&mut self.output);
    }

    /// Reads once. Returns `false` if there is nothing to read now, or ever.
    pub(super) fn read(&mut self, now: Instant) -> io::Result<bool> {
        let Some(source) = &self.source else {
            return Ok(false);
        };
        let mut buffer = [0; CHUNK_LEN];
        match read(source, &mut buffer) {
            // A terminal whose other end is closed is an error.
            Ok(0) | Err(Errno::IO) => {
                self.source = None;
                self.flush();
                Ok(false)
            }
            Ok(n) => {
                self.filter.feed(&buffer[..n], &mut self.output);
                self.deadline = self.filter.hold_timeout().map(|timeout| now + timeout);
                Ok(true)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes once. If the reader is gone, the stream ends for the command as well.
    pub(super) fn write(&mut self) -> io::Result<()> {
        let len = self.output.len().min(CHUNK_LEN);
        match write(self.target, &self.output[..len]) {
            Ok(n) => {
                self.output.drain(..n);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::PIPE | Errno::IO | Errno::CONNRESET) => {
                self.source = None;
                self.output.clear();
                self.filter.flush(&mut Vec::new());
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
