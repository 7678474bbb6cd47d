//! Passphrases of the user: from the terminal without an echo, or one a line from a descriptor.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};

use clap::Args;
use keyway_secrets::SecretValue;
use zeroize::Zeroizing;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::input;
use crate::output;
use crate::prompt::{self, PromptError};
use crate::stdio::Stdin;

/// Longest passphrase in bytes.
const MAX_LEN: usize = 1024;

/// The option that names the source of passphrases.
#[derive(Args, Debug, Default)]
pub(crate) struct PassphraseOptions {
    /// Read passphrases from this descriptor, one a line [default: ask at the terminal, or read stdin if it is none].
    #[arg(long, value_name = "FD")]
    passphrase_fd: Option<u16>,
}

/// The source of the passphrases of one command.
pub(crate) enum Passphrases {
    Terminal,
    /// `--no-ask` forbids the prompts.
    Forbidden,
    Lines(Box<dyn Read>),
}

impl Passphrases {
    /// Opens the source.
    ///
    /// # Errors
    ///
    /// Returns a [`Failure`] if the descriptor of the option is not open for reading.
    pub(crate) fn open(globals: &Globals, options: &PassphraseOptions) -> Result<Self, Failure> {
        Ok(match options.passphrase_fd {
            // Opened anew, so that no number of the command line becomes an owned descriptor.
            Some(number) => {
                let file = File::open(format!("/proc/self/fd/{number}"));
                Self::Lines(Box::new(file.map_err(|error| {
                    Failure::usage(
                        format_args!("the descriptor of --passphrase-fd cannot be read: {error}"),
                        "Open it in the shell, as in `--passphrase-fd 3 3<FILE`",
                    )
                })?))
            }
            None if !io::stdin().is_terminal() => Self::Lines(Box::new(Stdin)),
            None if globals.no_ask => Self::Forbidden,
            None => Self::Terminal,
        })
    }

    /// Returns a passphrase. `what` names it: `passphrase of the store`.
    ///
    /// # Errors
    ///
    /// Returns a failure with the exit code 6 if there is none.
    pub(crate) fn read(&mut self, what: &str) -> Result<SecretValue, Failure> {
        let passphrase = match self {
            Self::Forbidden => None,
            Self::Terminal => Some(ask(&format!("{} (not shown): ", output::capitalize(what)))?),
            Self::Lines(reader) => read_line(reader)?,
        };
        passphrase.filter(|line| !line.is_empty()).ok_or_else(|| {
            Failure::new(
                Exit::NeedsUser,
                format_args!("the {what} is needed, and none was given"),
                "Run it at a terminal without --no-ask, or name a descriptor in --passphrase-fd, with one passphrase a line",
            )
        })
    }

    /// Returns a new passphrase, which is asked for twice at a terminal.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`read`](Self::read), and a failure if both differ.
    pub(crate) fn read_new(&mut self, what: &str) -> Result<SecretValue, Failure> {
        let passphrase = self.read(what)?;
        if matches!(self, Self::Terminal) && ask("The same again: ")? != passphrase {
            return Err(Failure::error(
                "both passphrases differ",
                "Nothing was changed; try again",
            ));
        }
        Ok(passphrase)
    }
}

fn ask(question: &str) -> Result<SecretValue, Failure> {
    prompt::hidden(question).map_err(|error| match error {
        PromptError::Io(error) => Failure::error(
            format_args!("the terminal cannot be read: {error}"),
            "Nothing was changed; name a descriptor in --passphrase-fd instead",
        ),
        PromptError::SeveralLines | PromptError::StrayKey => Failure::error(
            "the passphrase is not one line of text",
            "Nothing was changed; enter it again",
        ),
    })
}

/// Reads to the next line break and not beyond; `None` at the end.
fn read_line(reader: &mut impl Read) -> Result<Option<SecretValue>, Failure> {
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_LEN));
    let mut byte = Zeroizing::new([0]);
    let mut is_at_end = true;
    loop {
        match reader.read(&mut *byte) {
            Ok(0) => break,
            Ok(_) => is_at_end = false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(Failure::error(
                    format_args!("the passphrase cannot be read: {error}"),
                    "Nothing was changed; give one passphrase a line",
                ));
            }
        }
        if byte[0] == b'\n' {
            break;
        }
        if line.len() == MAX_LEN {
            return Err(Failure::error(
                format_args!("the passphrase has more than {MAX_LEN} bytes"),
                "Nothing was changed; give one passphrase a line",
            ));
        }
        input::append(&mut line, &*byte);
    }
    let text = line.strip_suffix(b"\r").unwrap_or(&line);
    Ok((!is_at_end).then(|| SecretValue::from(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_without_its_end_and_nothing_beyond() {
        let mut reader = &b"one\r\n\ntwo"[..];
        let mut next = || {
            let line = read_line(&mut reader).unwrap();
            line.map(|line| line.expose().to_vec())
        };
        assert_eq!(next(), Some(b"one".to_vec()));
        assert_eq!(next(), Some(Vec::new()));
        assert_eq!(next(), Some(b"two".to_vec()));
        assert_eq!(next(), None);
    }

    #[test]
    fn a_passphrase_has_a_limit() {
        let longest = [&[b'x'; MAX_LEN][..], b"\n"].concat();
        assert!(read_line(&mut &longest[..]).unwrap().is_some());
        assert!(read_line(&mut &[b'x'; MAX_LEN + 1][..]).is_err());
    }
}
