//! Examples and exit codes of the help and the manual pages.

mod pages;

use std::fmt::Write as _;

use clap::Command;

pub(crate) use pages::Page;

/// The widest help in columns; a wider terminal leaves the rest empty, because longer lines are hard to read.
const MAX_WIDTH: usize = 120;

/// Returns the definition with examples and exit codes behind the options of every command, wrapped at the width of the
/// terminal.
pub(crate) fn complete(definition: Command) -> Command {
    with_pages(definition.max_term_width(MAX_WIDTH), "")
}

fn with_pages(command: Command, path: &str) -> Command {
    let command = command.mut_subcommands(|inner| {
        let path = format!("{path} {}", inner.get_name());
        with_pages(inner, path.trim_start())
    });
    let Some(page) = Page::of(path) else {
        return command;
    };
    let explanation = command.get_after_help().map(ToString::to_string);
    command.after_help(after_help(explanation.as_deref(), page))
}

fn after_help(explanation: Option<&str>, page: &Page) -> String {
    let mut text = String::new();
    if let Some(explanation) = explanation {
        text.push_str(explanation);
        text.push_str("\n\n");
    }
    text.push_str("Examples:\n");
    for (example, about) in page.examples {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {example}\n      {about}");
    }
    text.push_str("\nExit codes:\n");
    for (code, meaning) in page.exit_codes {
        let _ = writeln!(text, "  {code:<3}  {meaning}");
    }
    text
}
