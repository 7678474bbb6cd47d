//! Asking for a secret at the terminal.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::process;
use std::thread;

use keyway_secrets::SecretValue;
use rustix::io::ioctl_fionread;
use rustix::process::Signal;
use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr,
    tcsetattr,
};
use zeroize::{Zeroize as _, Zeroizing};

use crate::signals::Signals;

const END_OF_INPUT: u8 = 0x04;
const BACKSPACE: [u8; 2] = [0x08, 0x7f];
const KILL_LINE: u8 = 0x15;

/// Why no value was typed.
#[derive(Debug)]
pub(crate) enum PromptError {
    /// There is no terminal, or it cannot be read.
    Io(io::Error),
    /// More came than one line: a text with several was pasted, and the rest of it is not for a shell to execute.
    SeveralLines,
}

impl From<io::Error> for PromptError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Shows a question on the terminal and reads one line, which is not shown and may have any length.
///
/// Whatever ends the program meanwhile, Ctrl-C for one, leaves a terminal that shows again what is typed.
///
/// # Errors
///
/// See [`PromptError`].
pub(crate) fn hidden(question: &str) -> Result<SecretValue, PromptError> {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    let mut hiding = Hiding::new(terminal)?;
    hiding.terminal.write_all(question.as_bytes())?;
    let line = read_line(&mut hiding.terminal);
    hiding.terminal.write_all(b"\n")?;
    let more = ioctl_fionread(&hiding.terminal).map_err(io::Error::from)? > 0;
    if more || matches!(line, Err(PromptError::SeveralLines)) {
        tcflush(&hiding.terminal, QueueSelector::IFlush).map_err(io::Error::from)?;
        return Err(PromptError::SeveralLines);
    }
    line
}

/// A terminal that does not show what is typed, until this is dropped.
///
/// It also does not wait for whole lines: those that a terminal collects have at most 4,095 bytes, and tokens are longer.
struct Hiding {
    terminal: File,
    shown: Termios,
}

impl Hiding {
    fn new(terminal: File) -> io::Result<Self> {
        let shown = tcgetattr(&terminal)?;
        restore_when_ended(terminal.try_clone()?, shown.clone())?;
        let mut hidden = shown.clone();
        hidden
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON);
        hidden.special_codes[SpecialCodeIndex::VMIN] = 1;
        hidden.special_codes[SpecialCodeIndex::VTIME] = 0;
        let hiding = Self { terminal, shown };
        tcsetattr(&hiding.terminal, OptionalActions::Now, &hidden)?;
        Ok(hiding)
    }
}

impl Drop for Hiding {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.shown);
    }
}

/// Ends the program with a terminal as it was when a signal asks for its end.
fn restore_when_ended(terminal: File, shown: Termios) -> io::Result<()> {
    let mut signals = Signals::catch()?;
    // The thread lives as long as the program, which ends soon after the answer.
    thread::spawn(move || {
        while let Ok(arrived) = signals.next() {
            if matches!(arrived.signal, Signal::CHILD | Signal::WINCH) {
                continue;
            }
            // A terminal that is gone needs nothing.
            let _ = tcsetattr(&terminal, OptionalActions::Now, &shown);
            process::exit(128 + arrived.signal.as_raw());
        }
    });
    Ok(())
}

/// Reads to the end of the line, with the two keys that people use when they cannot see what they typed.
fn read_line(terminal: &mut impl Read) -> Result<SecretValue, PromptError> {
    let mut line = Zeroizing::new(Vec::with_capacity(4096));
    let mut piece = Zeroizing::new([0; 256]);
    loop {
        let n = match terminal.read(&mut *piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if n == 0 {
            return Ok(SecretValue::from(line.as_slice()));
        }
        for (at, byte) in piece[..n].iter().enumerate() {
            match *byte {
                b'\n' | b'\r' | END_OF_INPUT if at + 1 < n => {
                    return Err(PromptError::SeveralLines);
                }
                b'\n' | b'\r' | END_OF_INPUT => return Ok(SecretValue::from(line.as_slice())),
                KILL_LINE => line.clear(),
                byte if BACKSPACE.contains(&byte) => remove_last(&mut line),
                byte => push(&mut line, byte),
            }
        }
    }
}

/// Removes the last character, which may be several bytes of UTF-8.
fn remove_last(line: &mut Vec<u8>) {
    while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
}

/// Adds a byte. A buffer that became too small is wiped.
fn push(line: &mut Vec<u8>, byte: u8) {
    if line.len() == line.capacity() {
        let mut larger = Vec::with_capacity(2 * line.len());
        larger.extend_from_slice(line);
        line.zeroize();
        *line = larger;
    }
    line.push(byte);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8]) -> Vec<u8> {
        let value = read_line(&mut &keys[..]).unwrap();
        value.expose().to_vec()
    }

    #[test]
    fn the_line_is_what_was_typed_without_its_end() {
        assert_eq!(typed(b"pass word\n"), b"pass word");
        assert_eq!(typed(b"\xffx\r"), b"\xffx");
        assert_eq!(typed(b"x\x04"), b"x");
        assert_eq!(typed(b"\x04"), b"");
        assert_eq!(typed(b""), b"");
    }

    #[test]
    fn keys_that_correct_correct() {
        assert_eq!(typed(b"ab\x7fc\n"), b"ac");
        assert_eq!(typed("a\u{fc}\u{20ac}\x7f\x08b\n".as_bytes()), b"ab");
        assert_eq!(typed(b"\x7f\x7fa\n"), b"a");
        assert_eq!(typed(b"wrong\x15right\n"), b"right");
    }

    #[test]
    fn a_line_may_be_longer_than_what_a_terminal_collects() {
        let keys = [vec![b'x'; 10_000], b"\n".to_vec()].concat();
        assert_eq!(typed(&keys), keys[..10_000]);
    }

    #[test]
    fn a_pasted_text_is_not_cut_after_its_first_line() {
        let mut keys = &b"-----BEGIN\nabc\n"[..];
        assert!(matches!(
            read_line(&mut keys),
            Err(PromptError::SeveralLines)
        ));
    }
}
