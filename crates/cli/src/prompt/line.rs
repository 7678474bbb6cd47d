//! The line editor of a hidden prompt, without I/O.

use keyway_secrets::SecretValue;
use zeroize::{Zeroize as _, Zeroizing};

use crate::input;

const END_OF_INPUT: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const KILL_LINE: u8 = 0x15;
const QUOTE_NEXT: u8 = 0x16;
const ERASE_WORD: u8 = 0x17;
const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;

/// The first UTF-8 byte of the control characters U+0080 to U+009F; their second byte is the same number.
const C1_LEAD: u8 = 0xc2;

/// Sequences that do not edit: bracketed paste, and reports of a gained or lost focus.
const IGNORED_SEQUENCES: [&[u8]; 4] = [b"[200~", b"[201~", b"[I", b"[O"];

/// Longest parsed escape sequence in bytes; further bytes are input.
const MAX_SEQUENCE_LEN: usize = 32;

/// The line so far. Editing keys have the meaning of a terminal's line discipline.
pub(super) struct Line {
    bytes: Zeroizing<Vec<u8>>,
    state: State,
    /// `true` if a key without a meaning here was pressed, so that the line may differ from what the user expects.
    has_stray_key: bool,
}

/// State of the parser of input bytes.
enum State {
    /// Expects a key.
    Plain,
    /// Expects the key after Ctrl-V, which is taken literally.
    Quoted,
    /// Within an escape sequence; holds its bytes after the first.
    Escape(Vec<u8>),
}

/// The effect of a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The line continues.
    More,
    /// The line is complete.
    End,
}

/// The line has keys that are not text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StrayKey;

impl Line {
    /// Creates an empty line.
    pub(super) fn new() -> Self {
        Self {
            bytes: Zeroizing::new(Vec::with_capacity(4096)),
            state: State::Plain,
            has_stray_key: false,
        }
    }

    /// Clears all state and zeroizes the line.
    pub(super) fn clear(&mut self) {
        self.bytes.zeroize();
        self.state = State::Plain;
        self.has_stray_key = false;
    }

    /// Handles a byte from the terminal.
    pub(super) fn press(&mut self, byte: u8) -> Step {
        match std::mem::replace(&mut self.state, State::Plain) {
            State::Quoted => self.push(byte),
            State::Escape(_) if matches!(byte, b'\n' | b'\r') => {
                self.has_stray_key = true;
                return Step::End;
            }
            State::Escape(sequence) => self.escape(sequence, byte),
            State::Plain => return self.plain(byte),
        }
        Step::More
    }

    fn plain(&mut self, byte: u8) -> Step {
        match byte {
            b'\n' | b'\r' | END_OF_INPUT => return Step::End,
            KILL_LINE => self.clear(),
            QUOTE_NEXT => self.state = State::Quoted,
            ERASE_WORD => self.erase_word(),
            BACKSPACE | DELETE => self.erase_character(),
            ESCAPE => self.state = State::Escape(Vec::new()),
            byte if byte.is_ascii_control() => self.has_stray_key = true,
            byte => {
                let is_c1 = matches!(byte, 0x80..=0x9f) && self.bytes.last() == Some(&C1_LEAD);
                self.has_stray_key |= is_c1;
                self.push(byte);
            }
        }
        Step::More
    }

    /// Handles a byte of an escape sequence (ECMA-48, with the `ESC O` of function keys), which is not added to the line.
    fn escape(&mut self, mut sequence: Vec<u8>, byte: u8) {
        sequence.push(byte);
        let is_complete = match sequence.as_slice() {
            [b'[' | b'O'] => false,
            [b'O', _] => true,
            [b'[', .., last] => !matches!(last, 0x20..=0x3f),
            _ => true,
        };
        if is_complete || sequence.len() == MAX_SEQUENCE_LEN {
            self.has_stray_key |= !IGNORED_SEQUENCES.contains(&sequence.as_slice());
        } else {
            self.state = State::Escape(sequence);
        }
    }

    /// Removes the last character, which may be several bytes of UTF-8.
    fn erase_character(&mut self) {
        while self.bytes.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
        self.reset_if_empty();
    }

    /// Removes the last word and the spaces after it.
    fn erase_word(&mut self) {
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
        let word_end = self.bytes.iter().rposition(|byte| !is_space(byte));
        let word = &self.bytes[..word_end.map_or(0, |last| last + 1)];
        let start = word.iter().rposition(is_space).map_or(0, |space| space + 1);
        self.bytes[start..].zeroize();
        self.bytes.truncate(start);
        self.reset_if_empty();
    }

    /// Clears the flag of a stray key once the line is empty, because no effect of the key can remain.
    fn reset_if_empty(&mut self) {
        if self.bytes.is_empty() {
            self.has_stray_key = false;
        }
    }

    fn push(&mut self, byte: u8) {
        input::append(&mut self.bytes, &[byte]);
    }

    /// Returns the value of the line.
    ///
    /// # Errors
    ///
    /// Returns [`StrayKey`] if a control character or an unsupported editing key was pressed, except after Ctrl-V.
    pub(super) fn value(&self) -> Result<SecretValue, StrayKey> {
        match self.has_stray_key {
            true => Err(StrayKey),
            false => Ok(SecretValue::from(self.bytes.as_slice())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Presses keys up to the end of the line, which must be the last of them.
    fn line(keys: &[u8]) -> Line {
        let mut line = Line::new();
        let (last, others) = keys.split_last().unwrap();
        for byte in others {
            assert_eq!(line.press(*byte), Step::More, "{byte:#x}");
        }
        assert_eq!(line.press(*last), Step::End);
        line
    }

    fn value(keys: &[u8]) -> Vec<u8> {
        line(keys).value().unwrap().expose().to_vec()
    }

    #[test]
    fn the_value_is_the_input_without_the_line_end() {
        assert_eq!(value(b"pass word\n"), b"pass word");
        assert_eq!(value(b"\xffx\r"), b"\xffx");
        assert_eq!(value("gr\u{fc}n\n".as_bytes()), "gr\u{fc}n".as_bytes());
        assert_eq!(value(b"x\x04"), b"x");
        assert_eq!(value(b"\x04"), b"");
    }

    #[test]
    fn erase_keys_remove_characters_words_and_the_line() {
        assert_eq!(value(b"ab\x7fc\n"), b"ac");
        assert_eq!(value("a\u{fc}\u{20ac}\x7f\x08b\n".as_bytes()), b"ab");
        assert_eq!(value(b"\x7f\x7fa\n"), b"a");
        assert_eq!(value(b"wrong\x15right\n"), b"right");
        assert_eq!(value(b"one two  \x17three\n"), b"one three");
        assert_eq!(value(b"word\x17\x17x\n"), b"x");
    }

    #[test]
    fn a_line_may_exceed_the_limit_of_canonical_mode() {
        let keys = [vec![b'x'; 10_000], b"\n".to_vec()].concat();
        assert_eq!(value(&keys), keys[..10_000]);
    }

    #[test]
    fn a_key_after_ctrl_v_is_literal() {
        assert_eq!(value(b"a\x16\tb\x16\x15\x16\x16\n"), b"a\tb\x15\x16");
        assert_eq!(value(b"a\x16\n\n"), b"a\n");
    }

    #[test]
    fn bracketed_paste_and_focus_reports_are_ignored() {
        assert_eq!(value(b"a\x1b[200~pasted\x1b[201~\n"), b"apasted");
        assert_eq!(value(b"a\x1b[O\x1b[Ib\n"), b"ab");
    }

    #[test]
    fn a_line_with_stray_keys_is_an_error() {
        for keys in [
            &b"abc\x1b[Dd\n"[..],
            b"abc\x1bOHd\n",
            b"abc\x1b[1;5Cd\n",
            b"abc\x1bd\n",
            b"abc\x1b\n",
            b"abc\td\n",
            b"abc\x01\n",
            b"a\0b\n",
            "a\u{9b}2Jb\n".as_bytes(),
            b"abc\x1b[DD\x7f\n",
        ] {
            assert_eq!(line(keys).value().unwrap_err(), StrayKey, "{keys:?}");
        }
        let long = [b"a\x1b[".to_vec(), vec![b'1'; 100], b"x\n".to_vec()].concat();
        assert_eq!(line(&long).value().unwrap_err(), StrayKey);
    }

    #[test]
    fn erasing_the_line_clears_stray_keys() {
        assert_eq!(value(b"abc\x1b[D\x15right\n"), b"right");
        assert_eq!(value(b"ab\t\x7f\x7fright\n"), b"right");
        assert_eq!(value(b"ab\t\x17right\n"), b"right");
    }
}
