//! Asking for a secret at the terminal.
//!
//! Signals are treated as OpenBSD's `readpassphrase` treats them. Before the process stops or ends, the terminal shows again
//! what is typed. A process that is continued hides it, drops what was typed and asks again.

mod line;
mod terminal;

use std::io;
use std::process;

use keyway_secrets::SecretValue;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::Signal;
use zeroize::Zeroizing;

use crate::signals::{Signals, stop_by};
use line::{Line, Step, StrayKey};
use terminal::Terminal;

/// Why no value was typed.
#[derive(Debug)]
pub(crate) enum PromptError {
    /// There is no terminal, or it cannot be read.
    Io(io::Error),
    /// More came than one line: a text with several was pasted, and the rest of it is not for a shell to execute.
    SeveralLines,
    /// A control character or an editing key was pressed that the prompt does not know.
    StrayKey,
}

impl From<io::Error> for PromptError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for PromptError {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

/// Shows a question on the terminal and reads one line, which is not shown and may have any length.
///
/// # Errors
///
/// See [`PromptError`].
pub(crate) fn hidden(question: &str) -> Result<SecretValue, PromptError> {
    let mut prompt = Prompt {
        signals: Signals::catch_with_job_control()?,
        terminal: Terminal::open()?,
        line: Line::new(),
    };
    loop {
        match prompt.ask(question) {
            // A signal was caught. If one of them stopped this process, the question is asked again.
            Err(PromptError::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {
                prompt.attend()?;
            }
            other => return other,
        }
    }
}

struct Prompt {
    signals: Signals,
    terminal: Terminal,
    line: Line,
}

impl Prompt {
    /// Asks once. Fails with `EINTR` if the question has to be asked again.
    fn ask(&mut self, question: &str) -> Result<SecretValue, PromptError> {
        self.line.clear();
        self.terminal.hide()?;
        self.terminal.write(question.as_bytes())?;
        let mut piece = Zeroizing::new([0; 256]);
        loop {
            if self.wait()? && self.attend()? {
                return Err(Errno::INTR.into());
            }
            let n = match self.terminal.read(&mut *piece) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            if n == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            let end = piece[..n]
                .iter()
                .position(|byte| self.line.press(*byte) == Step::End);
            if let Some(end) = end {
                return self.finish(end + 1 < n);
            }
        }
    }

    /// Waits until keys can be read or a signal has arrived, and returns whether it is a signal.
    fn wait(&self) -> Result<bool, PromptError> {
        loop {
            let mut sources = [
                PollFd::new(&self.signals, PollFlags::IN),
                PollFd::new(&self.terminal, PollFlags::IN),
            ];
            match poll(&mut sources, None) {
                Err(Errno::INTR) => {}
                other => {
                    other?;
                    return Ok(!sources[0].revents().is_empty());
                }
            }
        }
    }

    fn finish(&self, has_more: bool) -> Result<SecretValue, PromptError> {
        self.terminal.write(b"\n")?;
        if self.terminal.drop_input()? || has_more {
            return Err(PromptError::SeveralLines);
        }
        self.line.value().map_err(|StrayKey| PromptError::StrayKey)
    }

    /// Does what the caught signals say, and returns whether the question has to be asked again.
    fn attend(&mut self) -> Result<bool, PromptError> {
        let mut ask_again = false;
        while let Some(arrived) = self.signals.try_next()? {
            match arrived.signal {
                Signal::CHILD | Signal::WINCH => {}
                Signal::CONT => ask_again = true,
                signal @ (Signal::TSTP | Signal::TTIN | Signal::TTOU) => {
                    self.line.clear();
                    self.terminal.show();
                    stop_by(signal)?;
                    ask_again = true;
                }
                signal => self.end_by(signal),
            }
        }
        Ok(ask_again)
    }

    /// Ends the process with the exit code of a signal, and the terminal as it was.
    fn end_by(&mut self, signal: Signal) -> ! {
        self.line.clear();
        // The shell's prompt begins on a line of its own. A terminal that is gone needs none.
        let _ = self.terminal.write(b"\n");
        self.terminal.show();
        process::exit(128 + signal.as_raw());
    }
}
