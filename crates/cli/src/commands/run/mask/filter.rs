//! Replaces values in a stream of bytes. No I/O and no clock.
//!
//! The leftmost value is replaced first, and the longest of those that begin there. Bytes are held only while they may be the
//! beginning of a value; all others are passed on at once.

use std::time::Duration;

use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::nfa::noncontiguous::NFA;
use aho_corasick::{Anchored, MatchKind, PatternID};
use keyway_secrets::SecretValue;

/// What a value becomes.
pub(super) const MASK: &[u8] = b"********";

/// Number of bytes of the shortest value that is replaced. Shorter ones occur by chance.
pub(super) const MIN_LEN: usize = 8;

/// How long bytes are held that may be the beginning of a value: a few, which a prompt may end with and which reveal little, and more.
const FEW: (usize, Duration) = (4, Duration::from_millis(50));
const MORE: Duration = Duration::from_secs(1);

/// The automaton of all values.
pub(super) struct Values {
    automaton: NFA,
    /// By state.
    beginnings: Vec<Beginning>,
}

/// The beginning of a value that a state has seen last.
#[derive(Clone, Copy, Default)]
struct Beginning {
    len: usize,
    /// Whether it is shorter than its value.
    is_partial: bool,
}

impl Values {
    /// Creates the automaton; `None` without a value of [`MIN_LEN`] bytes. Line breaks at the end of a value are left out, because
    /// programs remove them, and a value with several lines has the line breaks of a terminal, too.
    pub(super) fn new<'a>(values: impl IntoIterator<Item = &'a SecretValue>) -> Option<Self> {
        let mut patterns: Vec<Vec<u8>> = Vec::new();
        for value in values {
            let value = trimmed(value);
            if value.len() >= MIN_LEN {
                patterns.push(value.to_vec());
                patterns.push(with_terminal_line_breaks(value));
            }
        }
        patterns.sort_unstable();
        patterns.dedup();
        if patterns.is_empty() {
            return None;
        }
        let mut builder = NFA::builder();
        builder.match_kind(MatchKind::Standard).prefilter(false);
        let automaton = builder
            .build(&patterns)
            .expect("values are shorter than the limits of the automaton");
        let mut values = Self {
            automaton,
            beginnings: Vec::new(),
        };
        // After the first bytes of a value, the state is the one of exactly these bytes.
        for pattern in &patterns {
            let mut state = values.start();
            for (index, byte) in pattern.iter().enumerate() {
                state = values.automaton.next_state(Anchored::No, state, *byte);
                let state = state.as_usize();
                if values.beginnings.len() <= state {
                    values.beginnings.resize(state + 1, Beginning::default());
                }
                let beginning = &mut values.beginnings[state];
                beginning.len = index + 1;
                beginning.is_partial |= index + 1 < pattern.len();
            }
        }
        Some(values)
    }

    fn start(&self) -> StateID {
        self.automaton
            .start_state(Anchored::No)
            .expect("the automaton searches everywhere")
    }

    /// Returns the length of the longest value that ends in this state.
    fn match_len(&self, state: StateID) -> Option<usize> {
        if !self.automaton.is_match(state) {
            return None;
        }
        let n_matches = self.automaton.match_len(state);
        let len = |index| -> usize {
            let pattern: PatternID = self.automaton.match_pattern(state, index);
            self.automaton.pattern_len(pattern)
        };
        (0..n_matches).map(len).max()
    }
}

/// Returns the value without the line breaks at its end.
pub(super) fn trimmed(value: &SecretValue) -> &[u8] {
    let value = value.expose();
    let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let end = value.iter().rposition(|byte| !is_break(byte));
    &value[..end.map_or(0, |end| end + 1)]
}

/// Returns the value as a terminal prints it: a carriage return before each line feed.
fn with_terminal_line_breaks(value: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(2 * value.len());
    for byte in value {
        if *byte == b'\n' {
            text.push(b'\r');
        }
        text.push(*byte);
    }
    text
}

/// The filter of one stream.
pub(super) struct Filter<'a> {
    values: &'a Values,
    state: StateID,
    /// Bytes that were not passed on.
    held: Vec<u8>,
    /// How many of the held bytes the state has seen.
    n_seen: usize,
    /// The leftmost and longest value so far: its start and end in the held bytes. The start is negative if its first bytes
    /// were passed on by [`flush`](Self::flush).
    found: Option<(isize, usize)>,
}

impl<'a> Filter<'a> {
    pub(super) fn new(values: &'a Values) -> Self {
        Self {
            values,
            state: values.start(),
            held: Vec::new(),
            n_seen: 0,
            found: None,
        }
    }

    /// Takes input, and appends what can be passed on.
    pub(super) fn feed(&mut self, input: &[u8], output: &mut Vec<u8>) {
        self.held.extend_from_slice(input);
        while self.n_seen < self.held.len() {
            self.step();
            // No value can begin before the longest beginning of one.
            let beginning = self.beginning();
            let start = signed(self.n_seen) - signed(beginning.len);
            let is_decided = |(found, _)| found < start || found == start && !beginning.is_partial;
            if self.found.is_some_and(is_decided) {
                self.replace(output);
            }
        }
        let n_decided = self.n_seen.saturating_sub(self.beginning().len);
        self.pass(n_decided, output);
    }

    /// Passes on all held bytes, although a value may follow them. What follows is still replaced.
    pub(super) fn flush(&mut self, output: &mut Vec<u8>) {
        // The bytes behind a value are looked through once more, and may hold another one.
        while self.found.is_some() {
            self.replace(output);
            self.feed(&[], output);
        }
        self.pass(self.held.len(), output);
    }

    /// Returns how long to wait for more input before [`flush`](Self::flush); `None` if nothing is held.
    pub(super) fn hold_timeout(&self) -> Option<Duration> {
        match self.held.len() {
            0 => None,
            len if self.found.is_none() && len < FEW.0 => Some(FEW.1),
            _ => Some(MORE),
        }
    }

    /// Lets the state see one byte.
    fn step(&mut self) {
        let byte = self.held[self.n_seen];
        self.n_seen += 1;
        let automaton = &self.values.automaton;
        self.state = automaton.next_state(Anchored::No, self.state, byte);
        let Some(len) = self.values.match_len(self.state) else {
            return;
        };
        let start = signed(self.n_seen) - signed(len);
        if self.found.is_none_or(|(found, _)| start <= found) {
            self.found = Some((start, self.n_seen));
        }
    }

    /// Replaces the value that was found, and starts again behind it.
    fn replace(&mut self, output: &mut Vec<u8>) {
        if let Some((start, end)) = self.found.take() {
            output.extend_from_slice(&self.held[..usize::try_from(start).unwrap_or(0)]);
            output.extend_from_slice(MASK);
            self.held.drain(..end);
            self.n_seen = 0;
            self.state = self.values.start();
        }
    }

    fn pass(&mut self, n: usize, output: &mut Vec<u8>) {
        output.extend(self.held.drain(..n));
        self.n_seen -= n;
        self.found = self.found.map(|(start, end)| (start - signed(n), end - n));
    }

    /// Returns the longest beginning of a value that the last bytes are.
    fn beginning(&self) -> Beginning {
        let beginnings = &self.values.beginnings;
        beginnings
            .get(self.state.as_usize())
            .copied()
            .unwrap_or_default()
    }
}

fn signed(n: usize) -> isize {
    isize::try_from(n).expect("a buffer is shorter")
}

#[cfg(test)]
mod tests {
    use super::*;
    use aho_corasick::AhoCorasick;
    use proptest::prelude::*;

    fn values(values: &[&str]) -> Values {
        let values: Vec<SecretValue> = values
            .iter()
            .map(|value| SecretValue::from(*value))
            .collect();
        Values::new(&values).unwrap()
    }

    /// The output of each piece of input, and of the end.
    fn pieces(values: &Values, input: &[&str]) -> Vec<String> {
        let mut filter = Filter::new(values);
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        for piece in input {
            pieces.push(Vec::new());
            filter.feed(piece.as_bytes(), pieces.last_mut().unwrap());
        }
        pieces.push(Vec::new());
        filter.flush(pieces.last_mut().unwrap());
        pieces
            .into_iter()
            .map(|piece| String::from_utf8(piece).unwrap())
            .collect()
    }

    #[test]
    fn what_cannot_be_the_beginning_of_a_value_is_passed_on_at_once() {
        let values = values(&["dummy-token"]);
        assert_eq!(pieces(&values, &["abc"]), ["abc", ""]);
        assert_eq!(pieces(&values, &["xd"]), ["x", "d"]);
        assert_eq!(pieces(&values, &["xdumm", "x"]), ["x", "dummx", ""]);
        assert_eq!(
            pieces(&values, &["dumdum", "my-token!"]),
            ["dum", "********!", ""]
        );
        assert_eq!(pieces(&values, &["a dummy-token"]), ["a ********", ""]);
    }

    #[test]
    fn the_longest_value_is_replaced_first() {
        let values = values(&["dummy-token", "dummy-token-of-2026", "token-of-2026"]);
        assert_eq!(pieces(&values, &["<dummy-token>"]).concat(), "<********>");
        assert_eq!(
            pieces(&values, &["<dummy-token", "-of-2026>"]),
            ["<", "********>", ""]
        );
        assert_eq!(
            pieces(&values, &["dummy-token-of-2025"]).concat(),
            "********-of-2025"
        );
        assert_eq!(
            pieces(&values, &["dummy-token-of-dummy-token"]).concat(),
            "********-of-********"
        );
        assert_eq!(pieces(&values, &["token-of-2026"]).concat(), "********");
    }

    #[test]
    fn short_values_and_line_breaks_at_the_end_do_not_count() {
        let of = |values: &[&str]| {
            let values: Vec<SecretValue> = values
                .iter()
                .map(|value| SecretValue::from(*value))
                .collect();
            Values::new(&values)
        };
        assert!(of(&[]).is_none());
        assert!(of(&["1234567", "1234567\n", "\r\n\r\n\r\n\r\n\r\n"]).is_none());
        let values = of(&["12345678\r\n"]).unwrap();
        assert_eq!(pieces(&values, &["x12345678y"]).concat(), "x********y");
    }

    #[test]
    fn line_breaks_of_a_terminal_are_recognised() {
        let values = values(&["-----\ndummy\n-----\n"]);
        for text in ["-----\ndummy\n-----", "-----\r\ndummy\r\n-----"] {
            assert_eq!(pieces(&values, &[text]).concat(), "********");
        }
    }

    #[test]
    fn bytes_are_held_for_a_bounded_time() {
        let values = values(&["dummy-token", "dummy-token-2"]);
        let mut filter = Filter::new(&values);
        let mut output = Vec::new();
        assert_eq!(filter.hold_timeout(), None);
        filter.feed(b"login: d", &mut output);
        assert_eq!(
            (output.as_slice(), filter.hold_timeout()),
            (&b"login: "[..], Some(FEW.1))
        );
        filter.flush(&mut output);
        assert_eq!(
            (output.as_slice(), filter.hold_timeout()),
            (&b"login: d"[..], None)
        );
        // The value is recognised although its first byte was passed on.
        filter.feed(b"ummy-token", &mut output);
        assert_eq!(filter.hold_timeout(), Some(MORE));
        filter.feed(b".", &mut output);
        assert_eq!(output, b"login: d********.");
        filter.feed(b"dummy-token", &mut output);
        filter.flush(&mut output);
        assert_eq!(output, b"login: d********.********");
        filter.feed(b"-2", &mut output);
        assert_eq!(
            (output.as_slice(), filter.hold_timeout()),
            (&b"login: d********.********-2"[..], None)
        );
    }

    /// Values over few letters, which overlap and contain each other.
    fn any_values() -> impl Strategy<Value = Vec<String>> {
        proptest::collection::vec("[ab]{8,12}|a{8,20}|(ab){4,8}", 1..5)
    }

    /// Text with values and parts of values in it.
    fn any_text() -> impl Strategy<Value = (Vec<String>, String)> {
        any_values().prop_flat_map(|values| {
            let of_values = values.clone();
            let part = prop_oneof![
                "[ab]{0,6}".boxed(),
                "[abc]{0,3}".boxed(),
                (0..values.len(), 0_usize..20)
                    .prop_map(move |(index, len)| {
                        let value = &of_values[index];
                        value[..len.min(value.len())].to_owned()
                    })
                    .boxed(),
            ];
            let text = proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat());
            (Just(values), text)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn the_output_is_the_input_with_replacements_for_any_pieces(
            (texts, text) in any_text(),
            cuts in proptest::collection::vec(0_usize..100, 0..10),
        ) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let values = values(&texts);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let input: Vec<&str> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            let expected = AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(&texts)
                .unwrap()
                .replace_all(&text, &vec!["********"; texts.len()]);
            prop_assert_eq!(pieces(&values, &input).concat(), expected);
        }

        #[test]
        fn only_the_beginning_of_a_value_is_held((texts, text) in any_text()) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let values = values(&texts);
            let mut filter = Filter::new(&values);
            for byte in text.bytes() {
                filter.feed(&[byte], &mut Vec::new());
                let held = String::from_utf8(filter.held.clone()).unwrap();
                let is_beginning = texts.iter().any(|value| value.starts_with(&held));
                let has_value = texts.iter().any(|value| held.starts_with(value));
                prop_assert!(held.is_empty() || is_beginning || has_value, "{}", held);
            }
        }

        #[test]
        fn a_flush_at_any_time_loses_nothing_but_parts_of_values(
            (texts, text) in any_text(),
            flushes in proptest::collection::vec(any::<bool>(), 0..100),
        ) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let values = values(&texts);
            let mut filter = Filter::new(&values);
            let mut output = Vec::new();
            for (index, byte) in text.bytes().enumerate() {
                filter.feed(&[byte], &mut output);
                if flushes.get(index).copied().unwrap_or(false) {
                    filter.flush(&mut output);
                    prop_assert!(filter.held.is_empty());
                }
            }
            filter.flush(&mut output);
            if !texts.iter().any(|value| text.contains(value)) {
                prop_assert_eq!(output, text.into_bytes());
            }
        }
    }
}
