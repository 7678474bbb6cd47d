//! A page of the documentation as what a reader does with it: files that are written and commands that are run.
//!
//! A fenced block is one of
//!
//! - `console`: commands behind `$ `, further lines of one behind `> `, each followed by its output, in which `...` is any text. A
//!   command succeeds, unless the next one is `echo $?`;
//! - a language with `file=PATH`: a file of the reader, written with the mode `mode=MODE`, whose name is in the text;
//! - `toml` without a file: a configuration of the daemon, which is checked;
//! - `rust`: a documentation test of `keyway-tests`;
//! - `text`: no code.
//!
//! Comments of HTML, which readers do not see, add what a page takes for granted:
//!
//! - `needs: PROGRAM...`: the page is skipped on a machine without these programs, of which `user-manager` is the systemd of a user;
//! - `setup:`, then commands of which only the success counts, `start_daemon` among them;
//! - `dialogue:`, then lines `TEXT => INPUT`: the next command runs at a terminal, where INPUT is typed once TEXT was shown;
//! - `not run: REASON`: the next block is not run.

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

/// The steps of a page, in order.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) needs: Vec<String>,
    pub(super) steps: Vec<Step>,
    pub(super) has_rust: bool,
    /// `true` if the reader has a systemd.
    pub(super) has_user_manager: bool,
}

#[derive(Debug)]
pub(super) enum Step {
    /// A file below the home of the reader.
    File(File),
    /// A configuration that the reader does not use yet.
    Configuration(String),
    /// Commands that the page does not show.
    Setup(String),
    /// A command that the page shows.
    Command(Command),
}

#[derive(Debug)]
pub(super) struct File {
    pub(super) language: String,
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) text: String,
}

#[derive(Debug, Default)]
pub(super) struct Command {
    pub(super) text: String,
    pub(super) output: String,
    /// The input of the terminal, each behind the text that it waits for; empty without a terminal.
    pub(super) dialogue: Vec<(String, String)>,
    /// `true` if the page shows the exit code; otherwise one that is not 0 is a fault.
    pub(super) may_fail: bool,
}

impl Page {
    /// Reads a page of Markdown.
    ///
    /// # Panics
    ///
    /// Panics if a block is neither of the kinds above.
    pub(super) fn parse(markdown: &str) -> Self {
        let mut page = Self::default();
        let mut comment = String::new();
        let mut block: Option<(String, String)> = None;
        let mut hidden = Hidden::default();
        let mut named = Vec::new();
        for event in Parser::new(markdown) {
            match event {
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                    block = Some((info.into_string(), String::new()));
                }
                Event::Text(text) if block.is_some() => {
                    block.as_mut().expect("a block").1.push_str(&text);
                }
                Event::End(TagEnd::CodeBlock) => {
                    if let Some((info, text)) = block.take() {
                        page.push_block(&info, text, std::mem::take(&mut hidden));
                    }
                }
                Event::Code(text) => named.push(text.trim_start_matches("~/").to_owned()),
                Event::Html(text) => comment.push_str(&text),
                Event::End(TagEnd::HtmlBlock) => {
                    page.read_comment(&std::mem::take(&mut comment), &mut hidden);
                }
                _ => {}
            }
        }
        for step in &page.steps {
            if let Step::File(File { path, .. }) = step {
                let is_named = named.iter().any(|name| name == path);
                assert!(is_named, "a reader cannot see the name of {path}");
            }
        }
        page
    }

    fn read_comment(&mut self, html: &str, hidden: &mut Hidden) {
        let text = html.trim().strip_prefix("<!--").unwrap_or_default();
        let text = text.strip_suffix("-->").unwrap_or_default().trim();
        let Some((kind, rest)) = text.split_once(':') else {
            return;
        };
        match kind {
            "needs" => {
                let (managers, programs): (Vec<_>, Vec<_>) = rest
                    .split_whitespace()
                    .partition(|word| *word == "user-manager");
                self.has_user_manager |= !managers.is_empty();
                self.needs.extend(programs.into_iter().map(str::to_owned));
            }
            "setup" => self.steps.push(Step::Setup(rest.trim().to_owned())),
            "dialogue" => hidden.dialogue = rest.trim().lines().map(exchange).collect(),
            "not run" => hidden.is_not_run = true,
            _ => {}
        }
    }

    fn push_block(&mut self, info: &str, text: String, hidden: Hidden) {
        let mut words = info.split_whitespace();
        let language = words.next().unwrap_or_default();
        let attribute = |name: &str| {
            let mut words = info.split_whitespace();
            words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        };
        match (language, attribute("file")) {
            _ if hidden.is_not_run => {}
            ("text", None) => {}
            ("console", _) => self.steps.extend(commands(&text, hidden.dialogue)),
            (language, Some(path)) => {
                let mode = attribute("mode").unwrap_or("600");
                self.steps.push(Step::File(File {
                    language: language.to_owned(),
                    path: path.to_owned(),
                    mode: u32::from_str_radix(mode, 8).expect("a mode"),
                    text,
                }));
            }
            ("toml", None) => self.steps.push(Step::Configuration(text)),
            (language, None) if language.starts_with("rust") => self.has_rust = true,
            _ => panic!("a block that is not tested: ```{info}\n{text}```"),
        }
    }
}

/// The additions of comments to the next block.
#[derive(Default)]
struct Hidden {
    dialogue: Vec<(String, String)>,
    is_not_run: bool,
}

fn exchange(line: &str) -> (String, String) {
    let (shown, typed) = line
        .split_once(" => ")
        .unwrap_or_else(|| panic!("no ` => ` in {line:?}"));
    (shown.to_owned(), typed.to_owned())
}

fn commands(block: &str, dialogue: Vec<(String, String)>) -> Vec<Step> {
    let mut commands: Vec<Command> = Vec::new();
    for line in block.lines() {
        if let Some(text) = line.strip_prefix("$ ") {
            if let Some(previous) = commands.last_mut() {
                previous.may_fail = text == "echo $?";
            }
            commands.push(Command {
                text: text.to_owned(),
                ..Command::default()
            });
            continue;
        }
        let command = commands.last_mut();
        let command =
            command.unwrap_or_else(|| panic!("a console block begins with `$ `: {block}"));
        match line.strip_prefix("> ") {
            Some(text) if command.output.is_empty() => {
                command.text.push('\n');
                command.text.push_str(text);
            }
            _ => {
                command.output.push_str(line.trim_end());
                command.output.push('\n');
            }
        }
    }
    // An empty line between two commands is for the eye.
    for command in &mut commands {
        command.output.truncate(command.output.trim_end().len());
    }
    if let Some(first) = commands.first_mut() {
        first.dialogue = dialogue;
    }
    commands.into_iter().map(Step::Command).collect()
}

/// Returns whether `shown` is what the page has, where `...` is any text. Columns may have another width, because they do if the
/// home has a longer path.
pub(super) fn matches(page: &str, shown: &str) -> bool {
    matches_text(&with_narrow_columns(page), &with_narrow_columns(shown))
}

/// Returns the text with at most two spaces in a row, and none at the end of a line.
fn with_narrow_columns(text: &str) -> String {
    let mut narrow = String::with_capacity(text.len());
    for line in text.trim_end().lines() {
        let mut n_spaces = 0;
        for character in line.trim_end().chars() {
            n_spaces = if character == ' ' { n_spaces + 1 } else { 0 };
            if n_spaces <= 2 {
                narrow.push(character);
            }
        }
        narrow.push('\n');
    }
    narrow.truncate(narrow.trim_end().len());
    narrow
}

fn matches_text(page: &str, shown: &str) -> bool {
    let Some((first, behind)) = page.split_once("...") else {
        return page == shown;
    };
    let (middle, last) = behind.rsplit_once("...").unwrap_or(("", behind));
    let Some(mut rest) = shown.strip_prefix(first.trim()) else {
        return false;
    };
    for piece in middle.split("...").map(str::trim) {
        let Some((_, behind)) = rest.split_once(piece) else {
            return false;
        };
        rest = behind;
    }
    rest.ends_with(last.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_dots_are_any_text() {
        assert!(matches("a", "a") && matches("...", "") && matches("a ... b\n...", "a x b\ny"));
        assert!(matches("A    B\na...", "A     B  \na  b\n"));
        assert!(!matches("a", "a b") && !matches("a...c", "a b") && !matches("", "a"));
    }

    #[test]
    fn a_page_is_files_hidden_commands_and_commands_with_output() {
        let page = Page::parse(
            "<!-- needs: node -->\n\n<!-- setup:\ntrue\n-->\n\n`a.sh`\n\n```sh file=a.sh mode=755\necho a\n```\n\n```console\n$ ./a.sh\na\n\n$ false &&\n> true\n$ echo $?\n1\n```\n",
        );
        assert_eq!(page.needs, ["node"]);
        let [
            Step::Setup(setup),
            Step::File(file),
            Step::Command(first),
            Step::Command(second),
            Step::Command(_),
        ] = &page.steps[..]
        else {
            panic!("{page:?}");
        };
        assert_eq!(
            (setup.as_str(), file.mode, file.text.as_str()),
            ("true", 0o755, "echo a\n")
        );
        assert_eq!((first.output.as_str(), first.may_fail), ("a", false));
        assert_eq!(
            (second.text.as_str(), second.may_fail),
            ("false &&\ntrue", true)
        );
    }

    #[test]
    #[should_panic = "a block that is not tested"]
    fn a_block_that_nothing_runs_is_a_fault() {
        Page::parse("```sh\nrm -r /\n```\n");
    }
}
