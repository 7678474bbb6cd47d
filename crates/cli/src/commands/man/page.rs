//! Manual pages from the definition of the command line.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use crate::help::Page;

/// A manual page.
pub(super) struct ManualPage {
    /// Such as `keyway-get.1`.
    pub(super) file_name: String,
    pub(super) content: Vec<u8>,
}

/// The environment variables that the page of the program names.
const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "KEYWAY_SOCKET",
        "The daemon's socket, as --socket: a path, or @NAME for an abstract socket.",
    ),
    (
        "KEYWAY_DAEMON_UID",
        "The user whose daemon is accepted, as --daemon-uid.",
    ),
    (
        "KEYWAY_FILE_STORE",
        "The directory of the file store, instead of keyway in $XDG_DATA_HOME.",
    ),
    (
        "KEYWAY_FILE_PASSPHRASE_FILE",
        "The file that holds the passphrase of the file store.",
    ),
    (
        "RUST_LOG",
        "How much keyway serve logs: error, warn, info, debug or trace.",
    ),
];

/// The files that the page of the program names.
const FILES: &[(&str, &str)] = &[
    (
        "$XDG_CONFIG_HOME/keyway/config.toml",
        "The configuration (~/.config without the variable).",
    ),
    (
        "$XDG_DATA_HOME/keyway",
        "The encrypted store of the plugin file, and the directory plugins (~/.local/share without the variable).",
    ),
    (
        "$XDG_STATE_HOME/keyway",
        "Enabled plugins, pins and registrations (~/.local/state without the variable).",
    ),
    (
        "$XDG_RUNTIME_DIR/keyway/daemon.sock",
        "The socket of the daemon (/run/user/UID without the variable).",
    ),
];

/// Returns the pages of the program and of all its commands that the help shows.
pub(super) fn all(definition: Command) -> Vec<ManualPage> {
    let mut definition = definition.disable_help_subcommand(true);
    let version = definition.get_version().unwrap_or_default().to_owned();
    definition.build();
    let mut pages = Vec::new();
    add(&mut pages, &definition, "", &version);
    pages
}

fn add(pages: &mut Vec<ManualPage>, command: &Command, path: &str, version: &str) {
    pages.push(page(command, path, version));
    for inner in command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set())
    {
        let path = format!("{path} {}", inner.get_name());
        add(pages, inner, path.trim_start(), version);
    }
}

fn page(command: &Command, path: &str, version: &str) -> ManualPage {
    let explanation = command.get_after_help().map(ToString::to_string);
    let usage = command.clone().render_usage().to_string();
    let man = Man::new(command.clone().after_help(""));
    let name = man.get_filename();
    let name = name.trim_end_matches(".1");
    // Without a date, so that the same source makes the same page. `Roff` leaves an empty argument out.
    let mut content = format!(".TH {name} 1 \"\" \"keyway {version}\" \"Keyway\"\n").into_bytes();
    render(&man, Man::render_name_section, &mut content);
    let mut sections = Roff::new();
    sections.control("SH", ["SYNOPSIS"]);
    sections.text([roman(usage.trim_start_matches("Usage: "))]);
    write(&sections, &mut content);
    render(&man, Man::render_description_section, &mut content);
    let mut sections = Roff::new();
    for paragraph in explanation.iter().flat_map(|text| text.split("\n\n")) {
        sections.control("PP", []);
        sections.text([roman(paragraph)]);
    }
    write(&sections, &mut content);
    render(&man, Man::render_options_section, &mut content);
    if command.get_subcommands().any(|inner| !inner.is_hide_set()) {
        render(&man, Man::render_subcommands_section, &mut content);
    }
    write(&closing_sections(path), &mut content);
    ManualPage {
        file_name: man.get_filename(),
        content,
    }
}

type Section = fn(&Man, &mut dyn std::io::Write) -> std::io::Result<()>;

fn render(man: &Man, section: Section, content: &mut Vec<u8>) {
    section(man, content).expect("a vector takes all bytes");
}

fn write(sections: &Roff, content: &mut Vec<u8>) {
    sections
        .to_writer(content)
        .expect("a vector takes all bytes");
}

/// The sections that the definition of the command line does not have.
fn closing_sections(path: &str) -> Roff {
    let mut sections = Roff::new();
    if let Some(page) = Page::of(path) {
        sections.control("SH", ["EXAMPLES"]);
        for (example, about) in page.examples {
            entry(&mut sections, bold(*example), about);
        }
        sections.control("SH", ["EXIT STATUS"]);
        for (code, meaning) in page.exit_codes {
            entry(&mut sections, bold(*code), meaning);
        }
    }
    if path.is_empty() {
        for (title, entries) in [("ENVIRONMENT", ENVIRONMENT), ("FILES", FILES)] {
            sections.control("SH", [title]);
            for (name, about) in entries {
                entry(&mut sections, bold(*name), about);
            }
        }
    } else {
        sections.control("SH", ["SEE ALSO"]);
        sections.text([bold("keyway"), roman("(1)")]);
    }
    sections
}

fn entry(sections: &mut Roff, name: Inline, about: &str) {
    sections.control("TP", []);
    sections.text([name]);
    sections.text([roman(about)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command line as `clap` defines it, with a command below another.
    fn definition() -> Command {
        let inner = Command::new("list").about("Show every plugin");
        let hidden = Command::new("secret").hide(true);
        let plugins = Command::new("plugins")
            .about("List the plugins")
            .after_help("First.\n\n.Second begins with a dot.")
            .subcommand(inner);
        Command::new("keyway")
            .version("v1.2.3")
            .subcommand(plugins)
            .subcommand(hidden)
    }

    #[test]
    fn each_command_that_is_shown_has_a_page() {
        let names: Vec<_> = all(definition())
            .into_iter()
            .map(|page| page.file_name)
            .collect();
        assert_eq!(
            names,
            ["keyway.1", "keyway-plugins.1", "keyway-plugins-list.1"]
        );
    }

    #[test]
    fn a_page_has_explanation_examples_exit_codes_and_the_version() {
        let pages = all(definition());
        let text = String::from_utf8(pages[1].content.clone()).unwrap();
        for expected in [
            "keyway v1.2.3",
            "First.",
            "Second begins",
            ".SH EXAMPLES",
            ".SH \"EXIT STATUS\"",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert!(
            !text.contains("EXTRA") && !text.contains("\n.Second"),
            "{text}"
        );
    }
}
