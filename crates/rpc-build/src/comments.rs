//! Comments of `.proto` files as documentation of Rust items.
//!
//! Most of them are Markdown, and rustdoc takes every block of code without a language for Rust that
//! `cargo test` compiles and runs. All code in comments is therefore marked as text.

use prost_types::FileDescriptorProto;

/// The words after a fence with which rustdoc takes the block for Rust.
const RUST: &[&str] = &[
    "",
    "rust",
    "ignore",
    "should_panic",
    "no_run",
    "compile_fail",
    "test_harness",
    "edition2015",
    "edition2018",
    "edition2021",
    "edition2024",
];

/// Marks all code in the comments of a file as text.
pub(crate) fn mark_code(file: &mut FileDescriptorProto) {
    let locations = file.source_code_info.iter_mut();
    for location in locations.flat_map(|info| &mut info.location) {
        let comments = [
            &mut location.leading_comments,
            &mut location.trailing_comments,
        ];
        for comment in comments.into_iter().flatten() {
            *comment = with_code_as_text(comment);
        }
    }
}

fn with_code_as_text(comment: &str) -> String {
    let mut writer = Writer::default();
    for line in comment.lines() {
        writer.line(line);
    }
    writer.end_block();
    writer.text
}

/// The state after the lines so far.
#[derive(Default)]
struct Writer {
    text: String,
    block: Option<Block>,
    /// `true` if the last line was blank, or there was none.
    apart: Option<bool>,
    /// `true` if indented lines belong to an entry of a list.
    in_list: bool,
}

enum Block {
    /// Ends with a line of at least so many of this character.
    Fenced { mark: char, count: usize },
    /// Ends with a line that is not indented.
    Indented,
}

impl Writer {
    fn line(&mut self, line: &str) {
        match self.block {
            Some(Block::Fenced { mark, count }) => {
                let closes = |fence: (char, usize, &str)| {
                    fence.0 == mark && fence.1 >= count && fence.2.is_empty()
                };
                if fence(line).is_some_and(closes) {
                    self.block = None;
                }
                self.push(line);
            }
            Some(Block::Indented) if is_indented(line) || line.trim().is_empty() => self.push(line),
            Some(Block::Indented) => {
                self.end_block();
                self.outside(line);
            }
            None => self.outside(line),
        }
        self.apart = Some(line.trim().is_empty());
    }

    fn outside(&mut self, line: &str) {
        if let Some((mark, count, language)) = fence(line) {
            self.block = Some(Block::Fenced { mark, count });
            if is_rust(language) {
                let fence = line.trim_end().trim_end_matches(language).trim_end();
                return self.push(&format!("{fence}text"));
            }
        } else if is_indented(line) {
            if self.apart.unwrap_or(true) && !self.in_list {
                self.push(" ```text");
                self.block = Some(Block::Indented);
            }
        } else if !line.trim().is_empty() {
            self.in_list = is_list_entry(line);
        }
        self.push(line);
    }

    /// Closes an open block, which would contain the text that follows.
    fn end_block(&mut self) {
        match self.block.take() {
            Some(Block::Fenced { mark, count }) => {
                let fence = format!(" {}", mark.to_string().repeat(count));
                self.push(&fence);
            }
            Some(Block::Indented) => self.push(" ```"),
            None => {}
        }
    }

    fn push(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}

/// Returns the character of a fence, its count, and the text after it.
fn fence(line: &str) -> Option<(char, usize, &str)> {
    let line = line.trim();
    let mark = line
        .chars()
        .next()
        .filter(|mark| ['`', '~'].contains(mark))?;
    let rest = line.trim_start_matches(mark);
    let count = line.len() - rest.len();
    let is_fence = count >= 3 && !(mark == '`' && rest.contains('`'));
    is_fence.then(|| (mark, count, rest.trim()))
}

fn is_rust(language: &str) -> bool {
    let mut words = language.split([',', ' ', '{', '}']).map(str::trim);
    words.all(|word| RUST.contains(&word))
}

/// prost adds a space to lines with at least two, so four of them are code.
fn is_indented(line: &str) -> bool {
    let is_blank = line.trim().is_empty();
    !is_blank && (line.starts_with("    ") || line.trim_start_matches(' ').starts_with('\t'))
}

fn is_list_entry(line: &str) -> bool {
    let line = line.trim_start();
    let behind_number = line.trim_start_matches(|character: char| character.is_ascii_digit());
    let numbered = behind_number.len() < line.len() && behind_number.starts_with(['.', ')']);
    numbered || line.starts_with(['-', '*', '+'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(comment: &str, expected: &str) {
        assert_eq!(with_code_as_text(comment), expected, "{comment:?}");
    }

    #[test]
    fn fences_without_a_language_hold_text() {
        check(" a\n ```\n b\n ```\n c\n", " a\n ```text\n b\n ```\n c\n");
        check(" ~~~~\n ~~~\n ~~~~\n", " ~~~~text\n ~~~\n ~~~~\n");
        check(" ```rust,no_run\n x\n ```\n", " ```text\n x\n ```\n");
        check(" ```ignore\n x\n ```\n", " ```text\n x\n ```\n");
    }

    #[test]
    fn fences_with_another_language_are_unchanged() {
        for text in [
            " ```json\n {}\n ```\n",
            " ```text\n ```\n",
            " `code` and ```more```\n",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn an_open_fence_is_closed() {
        check(" ```\n a\n", " ```text\n a\n ```\n");
        check(" ~~~proto\n ```\n", " ~~~proto\n ```\n ~~~\n");
    }

    #[test]
    fn indented_code_gets_a_fence() {
        check(
            " a:\n\n     b\n\n       c\n d\n",
            " a:\n\n ```text\n     b\n\n       c\n ```\n d\n",
        );
        check("     b\n", " ```text\n     b\n ```\n");
        check(" a\n\n \tb\n", " a\n\n ```text\n \tb\n ```\n");
    }

    #[test]
    fn indented_lines_of_paragraphs_and_lists_are_unchanged() {
        for text in [
            " a paragraph\n      goes on\n",
            " - an entry\n\n     goes on\n",
            " 1. an entry\n\n     goes on\n",
            " a\n   b\n\n   c\n",
        ] {
            check(text, text);
        }
    }
}
