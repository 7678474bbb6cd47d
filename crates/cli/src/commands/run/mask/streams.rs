//! The streams between the command and this process: a terminal of its own where there was one, pipes elsewhere.

use std::io::{self, IsTerminal as _, stderr, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::fstat;
use rustix::io::ioctl_fionbio;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{getpid, ioctl_tiocsctty, setpgid, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::termios::tcsetpgrp;

use super::terminal::Pty;
use crate::sys;

/// Standard output or standard error of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Stdout,
    Stderr,
}

impl Target {
    const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];

    /// Returns the descriptor; `None` if it was closed when this program was started.
    fn open(self) -> Option<Self> {
        let number = match self {
            Self::Stdout => 1,
            Self::Stderr => 2,
        };
        (!sys::was_closed(number)).then_some(self)
    }

    fn is_terminal(self) -> bool {
        match self {
            Self::Stdout => stdout().is_terminal(),
            Self::Stderr => stderr().is_terminal(),
        }
    }

    /// Replaces this descriptor of the command.
    fn replace(self, end: &OwnedFd) -> io::Result<()> {
        Ok(match self {
            Self::Stdout => dup2_stdout(end),
            Self::Stderr => dup2_stderr(end),
        }?)
    }
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Stdout => rustix::stdio::stdout(),
            Self::Stderr => rustix::stdio::stderr(),
        }
    }
}

/// Where a stream of the command comes from.
pub(super) enum Source {
    Pipe(OwnedFd),
    Pty(Pty),
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Pipe(pipe) => pipe.as_fd(),
            Self::Pty(pty) => pty.as_fd(),
        }
    }
}

/// A pipe of the command.
pub(super) struct Pipe {
    /// The end of this process, which does not block.
    pub(super) output: OwnedFd,
    pub(super) target: Target,
    input: OwnedFd,
    /// The descriptors of the command that lead into it.
    sources: Vec<Target>,
}

/// All streams of the command.
pub(super) struct Streams {
    /// The terminal of the command, and the descriptors that lead to it.
    pub(super) pty: Option<(Pty, Vec<Target>)>,
    pub(super) pipes: Vec<Pipe>,
    /// Whether the command has the terminal as its controlling terminal, and gets the input of ours.
    pub(super) is_interactive: bool,
}

impl Streams {
    /// Opens the streams. If standard input and output are the terminal of this session and this process is in its foreground, this
    /// process becomes the leader of a new session with the terminal of the command.
    pub(super) fn open() -> io::Result<Self> {
        let is_interactive = sys::is_foreground(stdin())
            && sys::is_foreground(stdout())
            && stdin().is_terminal()
            && stdout().is_terminal();
        let targets = Target::ALL.into_iter().filter_map(Target::open);
        let (terminals, others): (Vec<_>, Vec<_>) =
            targets.partition(|target| target.is_terminal());
        let pty = match terminals.first() {
            None => None,
            Some(target) => Some((Pty::open(target, is_interactive)?, terminals)),
        };
        let mut pipes: Vec<Pipe> = Vec::new();
        for target in others {
            // With `2>&1` both are one file, and the order of what is written stays.
            match pipes.iter_mut().find(|pipe| is_same(pipe.target, target)) {
                Some(pipe) => pipe.sources.push(target),
                None => pipes.push(Pipe::open(target)?),
            }
        }
        if let Some((pty, _)) = &pty
            && is_interactive
        {
            setsid()?;
            ioctl_tiocsctty(pty.line()?)?;
        }
        Ok(Self {
            pty,
            pipes,
            is_interactive,
        })
    }

    /// Connects the standard descriptors of the command, which this process becomes. With the controlling terminal it also gets the
    /// foreground, in a process group of its own, so that it can be stopped.
    pub(super) fn become_child(&self) -> io::Result<()> {
        if let Some((pty, targets)) = &self.pty {
            let line = pty.line()?;
            if self.is_interactive {
                setpgid(None, None)?;
                tcsetpgrp(line, getpid())?;
                dup2_stdin(line)?;
            }
            targets.iter().try_for_each(|target| target.replace(line))?;
        }
        for pipe in &self.pipes {
            pipe.sources
                .iter()
                .try_for_each(|target| target.replace(&pipe.input))?;
        }
        Ok(())
    }

    /// Returns where to read from and where to write to, and closes the ends of the command in this process, which would keep the
    /// streams open.
    pub(super) fn into_sources(self) -> Vec<(Source, Target)> {
        let pty = self.pty.map(|(mut pty, targets)| {
            pty.close_line();
            (Source::Pty(pty), targets[0])
        });
        let pipes = self.pipes.into_iter();
        let pipes = pipes.map(|pipe| (Source::Pipe(pipe.output), pipe.target));
        pty.into_iter().chain(pipes).collect()
    }
}

impl Pipe {
    fn open(target: Target) -> io::Result<Self> {
        let (output, input) = pipe_with(PipeFlags::CLOEXEC)?;
        ioctl_fionbio(&output, true)?;
        Ok(Self {
            output,
            target,
            input,
            sources: vec![target],
        })
    }
}

fn is_same(a: Target, b: Target) -> bool {
    let file = |target: Target| fstat(target).ok().map(|file| (file.st_dev, file.st_ino));
    file(a).is_some() && file(a) == file(b)
}
