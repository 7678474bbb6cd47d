//! A hidden prompt for a secret at the terminal.
//!
//! Signals are handled as in OpenBSD's `readpassphrase`. Before the process stops or exits, echo is restored. After it is
//! continued, echo is disabled, the input is dropped and the prompt is repeated.

mod line;
mod signals;
mod terminal;

use std::io::{self, IsTerminal as _};
use std::process;

use keyway_secrets::SecretValue;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::{stdio, sys};
use line::{Line, Step, StrayKey};
use signals::Signals;
use terminal::Terminal;

/// Error of [`hidden`].
#[derive(Debug)]
pub(crate) enum PromptError {
    /// There is no controlling terminal, or it cannot be read.
    Io(io::Error),
    /// The input has more than one line, such as a pasted text. The rest is dropped, so that the shell does not execute it.
    SeveralLines,
    /// A control character or an unsupported editing key was pressed.
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

/// Writes `prompt` to the terminal and reads one line of any length without echo.
///
/// # Errors
///
/// Returns a [`PromptError`] if the terminal cannot be read or the input is not one line of text.
pub(crate) fn hidden(text: &str) -> Result<SecretValue, PromptError> {
    let mut prompt = Prompt {
        signals: Signals::catch()?,
        terminal: Terminal::open()?,
        line: Line::new(),
    };
    loop {
        match prompt.read_once(text) {
            // A signal was caught. If it stopped this process, the prompt is repeated.
            Err(PromptError::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {
                prompt.handle_signals()?;
            }
            other => return other,
        }
    }
}

/// Asks a question, which holds no text of a peer, on stderr and reads a line from stdin, if both are terminals. Returns `true` for `y` and `yes`, and without a
/// terminal, where nothing is asked.
///
/// # Errors
///
/// Returns the error of the terminal.
pub(crate) fn confirm(question: &str) -> io::Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(true);
    }
    stdio::write_stderr(question.as_bytes())?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    let answer = line.trim().to_ascii_lowercase();
    Ok(matches!(answer.as_str(), "y" | "yes"))
}

struct Prompt {
    signals: Signals,
    terminal: Terminal,
    line: Line,
}

impl Prompt {
    /// Prompts once. Fails with `EINTR` if the prompt must be repeated.
    fn read_once(&mut self, text: &str) -> Result<SecretValue, PromptError> {
        self.line.clear();
        self.terminal.hide()?;
        self.terminal.write(text.as_bytes())?;
        let mut piece = Zeroizing::new([0; 256]);
        loop {
            if self.wait()? && self.handle_signals()? {
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

    /// Waits for input or a signal. Returns `true` for a signal.
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
        if self.terminal.discard_input()? || has_more {
            return Err(PromptError::SeveralLines);
        }
        self.line.value().map_err(|StrayKey| PromptError::StrayKey)
    }

    /// Handles the caught signals. Returns `true` if the prompt must be repeated.
    fn handle_signals(&mut self) -> Result<bool, PromptError> {
        let mut must_repeat = false;
        while let Some(signal) = self.signals.try_next()? {
            match signal {
                libc::SIGCONT => must_repeat = true,
                libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => {
                    self.line.clear();
                    self.terminal.restore();
                    sys::stop_with(signal, || self.signals.has_arrived(libc::SIGCONT))?;
                    must_repeat = true;
                }
                signal => self.exit_with(signal),
            }
        }
        Ok(must_repeat)
    }

    /// Restores the terminal and exits with the code of a signal.
    fn exit_with(&mut self, signal: i32) -> ! {
        self.line.clear();
        // The shell's prompt starts on a new line. A closed terminal needs none.
        let _ = self.terminal.write(b"\n");
        self.terminal.restore();
        #[expect(
            clippy::disallowed_methods,
            reason = "the terminal is restored, the line zeroed, and the process is to end as if by the signal"
        )]
        process::exit(128 + signal);
    }
}
