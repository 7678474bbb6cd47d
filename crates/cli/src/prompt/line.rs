//! One line of user input, edited without being shown: no I/O.

use keyway_secrets::SecretValue;
use zeroize::{Zeroize as _, Zeroizing};

const END_OF_INPUT: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const KILL_LINE: u8 = 0x15;
const QUOTE_NEXT: u8 = 0x16;
const ERASE_WORD: u8 = 0x17;
const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;

/// The first byte in UTF-8 of the control characters U+0080 to U+009F, whose second byte is the same number.
const C1_LEAD: u8 = 0xc2;

/// Sequences that a terminal sends around pasted text and when its window gains or loses the focus: they edit nothing.
const HARMLESS: [&[u8]; 4] = [b"[200~", b"[201~", b"[I", b"[O"];

/// The longest escape sequence that is looked at; what follows is input again.
const MAX_SEQUENCE_LEN: usize = 32;

/// The line so far. Keys that correct it work as at any other prompt of a terminal.
pub(super) struct Line {
    bytes: Zeroizing<Vec<u8>>,
    keys: Keys,
    /// A key was pressed that has no meaning here, so the line may not be what the user believes.
    has_stray_key: bool,
}

/// What the next byte belongs to.
enum Keys {
    /// A key of its own.
    Plain,
    /// The key behind Ctrl-V: it stands for itself.
    Quoted,
    /// An escape sequence, so far without its first byte.
    Escape(Vec<u8>),
}

/// What a byte was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A part of the line.
    More,
    /// Its end.
    End,
}

/// The line holds keys that are not text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StrayKey;

impl Line {
    /// An empty line.
    pub(super) fn new() -> Self {
        Self {
            bytes: Zeroizing::new(Vec::with_capacity(4096)),
            keys: Keys::Plain,
            has_stray_key: false,
        }
    }

    /// Forgets all keys, and wipes the line.
    pub(super) fn clear(&mut self) {
        self.bytes.zeroize();
        self.keys = Keys::Plain;
        self.has_stray_key = false;
    }

    /// Takes a byte from the terminal.
    pub(super) fn press(&mut self, byte: u8) -> Step {
        match std::mem::replace(&mut self.keys, Keys::Plain) {
            Keys::Quoted => self.push(byte),
            Keys::Escape(_) if matches!(byte, b'\n' | b'\r') => {
                self.has_stray_key = true;
                return Step::End;
            }
            Keys::Escape(sequence) => self.escape(sequence, byte),
            Keys::Plain => return self.plain(byte),
        }
        Step::More
    }

    fn plain(&mut self, byte: u8) -> Step {
        match byte {
            b'\n' | b'\r' | END_OF_INPUT => return Step::End,
            KILL_LINE => self.clear(),
            QUOTE_NEXT => self.keys = Keys::Quoted,
            ERASE_WORD => self.erase_word(),
            BACKSPACE | DELETE => self.erase_character(),
            ESCAPE => self.keys = Keys::Escape(Vec::new()),
            byte if byte.is_ascii_control() => self.has_stray_key = true,
            byte => {
                let is_c1 = matches!(byte, 0x80..=0x9f) && self.bytes.last() == Some(&C1_LEAD);
                self.has_stray_key |= is_c1;
                self.push(byte);
            }
        }
        Step::More
    }

    /// Takes a byte of an escape sequence (ECMA-48, with the `ESC O` of function keys). None of it comes into the line.
    fn escape(&mut self, mut sequence: Vec<u8>, byte: u8) {
        sequence.push(byte);
        let is_complete = match sequence.as_slice() {
            [b'[' | b'O'] => false,
            [b'O', _] => true,
            [b'[', .., last] => !matches!(last, 0x20..=0x3f),
            _ => true,
        };
        if is_complete || sequence.len() == MAX_SEQUENCE_LEN {
            self.has_stray_key |= !HARMLESS.contains(&sequence.as_slice());
        } else {
            self.keys = Keys::Escape(sequence);
        }
    }

    /// Removes the last character, which may be several bytes of UTF-8.
    fn erase_character(&mut self) {
        while self.bytes.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
        self.forgive_if_empty();
    }

    /// Removes the last word, and the spaces behind it.
    fn erase_word(&mut self) {
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
        let word_end = self.bytes.iter().rposition(|byte| !is_space(byte));
        let word = &self.bytes[..word_end.map_or(0, |last| last + 1)];
        let start = word.iter().rposition(is_space).map_or(0, |space| space + 1);
        self.bytes[start..].zeroize();
        self.bytes.truncate(start);
        self.forgive_if_empty();
    }

    /// What was pressed before does not matter to a line that was erased.
    fn forgive_if_empty(&mut self) {
        if self.bytes.is_empty() {
            self.has_stray_key = false;
        }
    }

    /// Adds a byte. A buffer that became too small is wiped.
    fn push(&mut self, byte: u8) {
        if self.bytes.len() == self.bytes.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity((2 * self.bytes.len()).max(4096)));
            larger.extend_from_slice(&self.bytes);
            self.bytes = larger;
        }
        self.bytes.push(byte);
    }

    /// The value of the line.
    ///
    /// # Errors
    ///
    /// Returns [`StrayKey`] if a control character or an editing key that has no meaning here was pressed. A control character
    /// behind Ctrl-V is meant.
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

    fn typed(keys: &[u8]) -> Vec<u8> {
        line(keys).value().unwrap().expose().to_vec()
    }

    #[test]
    fn the_line_is_what_was_typed_without_its_end() {
        assert_eq!(typed(b"pass word\n"), b"pass word");
        assert_eq!(typed(b"\xffx\r"), b"\xffx");
        assert_eq!(typed("gr\u{fc}n\n".as_bytes()), "gr\u{fc}n".as_bytes());
        assert_eq!(typed(b"x\x04"), b"x");
        assert_eq!(typed(b"\x04"), b"");
    }

    #[test]
    fn keys_that_correct_correct() {
        assert_eq!(typed(b"ab\x7fc\n"), b"ac");
        assert_eq!(typed("a\u{fc}\u{20ac}\x7f\x08b\n".as_bytes()), b"ab");
        assert_eq!(typed(b"\x7f\x7fa\n"), b"a");
        assert_eq!(typed(b"wrong\x15right\n"), b"right");
        assert_eq!(typed(b"one two  \x17three\n"), b"one three");
        assert_eq!(typed(b"word\x17\x17x\n"), b"x");
    }

    #[test]
    fn a_line_may_be_longer_than_what_a_terminal_collects() {
        let keys = [vec![b'x'; 10_000], b"\n".to_vec()].concat();
        assert_eq!(typed(&keys), keys[..10_000]);
    }

    #[test]
    fn a_key_behind_ctrl_v_stands_for_itself() {
        assert_eq!(typed(b"a\x16\tb\x16\x15\x16\x16\n"), b"a\tb\x15\x16");
        assert_eq!(typed(b"a\x16\n\n"), b"a\n");
    }

    #[test]
    fn what_a_terminal_sends_around_pasted_text_is_dropped() {
        assert_eq!(typed(b"a\x1b[200~pasted\x1b[201~\n"), b"apasted");
        assert_eq!(typed(b"a\x1b[O\x1b[Ib\n"), b"ab");
    }

    #[test]
    fn a_line_with_keys_that_are_not_text_is_refused() {
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
    fn a_line_that_was_erased_begins_anew() {
        assert_eq!(typed(b"abc\x1b[D\x15right\n"), b"right");
        assert_eq!(typed(b"ab\t\x7f\x7fright\n"), b"right");
        assert_eq!(typed(b"ab\t\x17right\n"), b"right");
    }
}
