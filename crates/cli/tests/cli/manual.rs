//! The manual pages, as the programs that show them read them.

use std::process::Command;

use keyway_test_support::{feed, require, text};

use crate::support::Home;

/// Writes the pages below the home, and returns the paths from the home.
fn pages(home: &Home) -> Vec<String> {
    let output = home.run("man share/man1 --json", b"");
    assert!(output.status.success(), "{}", home.show(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let names = report["written"].as_array().unwrap().iter();
    names
        .map(|name| format!("share/man1/{}", name.as_str().unwrap()))
        .collect()
}

#[test]
fn every_command_of_the_help_has_a_page_with_examples_and_exit_codes() {
    let home = Home::new();
    let pages = pages(&home);
    for expected in ["keyway.1", "keyway-serve.1", "keyway-plugins-enable.1"] {
        assert!(
            pages.contains(&format!("share/man1/{expected}")),
            "{pages:?}"
        );
    }
    for page in &pages {
        let content = std::fs::read_to_string(home.join(page)).unwrap();
        for section in [".SH EXAMPLES", ".SH \"EXIT STATUS\""] {
            assert!(content.contains(section), "{page} has no {section}");
        }
    }
}

#[test]
fn mandoc_and_groff_find_no_fault_in_any_page() {
    let home = Home::new();
    let pages = pages(&home);
    if require::has_program("mandoc") {
        let mut mandoc = home.command("mandoc");
        let output = feed(mandoc.args(["-T", "lint", "-W", "error"]).args(&pages), b"");
        assert!(output.status.success(), "{}", home.show(&output));
    }
    if require::has_program("groff") {
        let mut groff: Command = home.command("groff");
        let options = ["-t", "-man", "-T", "utf8", "-ww", "-rLL=78n"];
        let output = feed(groff.args(options).args(&pages), b"");
        assert_eq!(text(&output.stderr), "", "{}", home.show(&output));
        let shown = text(&output.stdout);
        assert!(
            shown.contains("keyway run [OPTIONS] -- <CMD>..."),
            "{shown}"
        );
    }
}
