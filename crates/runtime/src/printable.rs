//! Text of plugins, made fit for logs, answers and terminals.

/// The text without what could steer a terminal, forge a log entry or read as something else: escape sequences, control
/// characters and marks of direction. Tabs become spaces, and spaces at the end go.
pub(crate) fn printable(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            // `ESC [ ... letter`: a colour or cursor sequence goes as a whole.
            '\u{1b}' if characters.peek() == Some(&'[') => {
                characters.next();
                characters.find(|c| ('@'..='~').contains(c));
            }
            '\t' => output.push(' '),
            c if c.is_control() || is_direction_mark(c) => {}
            c => output.push(c),
        }
    }
    output.truncate(output.trim_end().len());
    output
}

/// Characters that reorder the text around them, so that a line reads as something else.
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_read_stays() {
        assert_eq!(
            printable("\x1b[31mred\x1b[0m \x07bell\x08 \u{202e}right\ttab\r\n "),
            "red bell right tab"
        );
        assert_eq!(printable("\x1b[31"), "");
    }
}
