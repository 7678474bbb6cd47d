//! The page's text.

use std::fmt::Write as _;

use super::rows::ROWS;

const HEAD: &str = "# Compatibility

<!-- Written by `cargo xtask compatibility` from the results of the interop tests; do not edit. -->

Keyway speaks the plugin protocol of docker/secrets-engine ([protocol.md](protocol.md)). Each row below was run, and every
test that it rests on passed; a pairing in which no request was made fails. The Go programs are built on the libraries that
the reference uses and drive them as it does; the recordings are of programs built on its own SDKs.
";

const DIFFERENCES: &str = "
## What differs on purpose

| matter | the reference | Keyway | why |
| --- | --- | --- | --- |
| which providers are asked | those whose pattern includes the query or the other way round; an inclusion test that is not exact | those whose realm overlaps the query, exactly | `a/**/c` and `a/b/**` have ids in common, and a provider of both must be asked |
| an answer outside of the provider's realm | passed on | dropped, and logged as a violation | a provider can never answer for a realm that is not its own |
| several providers | one after the other, the first value wins | concurrently, ranked; a failed provider is never replaced by a lower one | ten providers cost little more than one, and a program gets the right value or none |
| nothing found, and a provider failed | `not_found` | `unavailable`, naming the providers | a program must not take a failure for an absence |
| partial results | not distinguished | certain ids are returned with the headers `keyway-failed-providers` and `keyway-failures-bin` | the same |
| who may connect | every process that reaches the abstract socket | the same user, by the kernel's word, unless configured | an abstract socket has no permissions |
| a plugin's environment | the launch variable alone | an allow-list besides it | plugins find their home and their locale |
| start | answers when every plugin has registered or timed out | answers at once | a bad file delays no other plugin |
| compressed answers | every answer, however small | never; compressed ones are understood | it costs more than it saves on a local socket |
| a disabled external plugin | not known | ends, and is listed so that it may come back | only its user can start it again |
| plugins before SDK v0.0.9 | served at that time | stopped, with the advice to rebuild them | they know no patterns |
";

/// The whole page.
pub(super) fn render(date: &str, versions: &[(String, String)]) -> String {
    let mut page = HEAD.to_owned();
    let versions: Vec<String> = versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    // Writing to a string cannot fail.
    let _ = writeln!(
        page,
        "\nRun on {date}, on Linux, with {}.\n",
        versions.join(", ")
    );
    page.push_str(
        "| peer | version | direction | what was run | tests |\n| --- | --- | --- | --- | --- |\n",
    );
    for row in ROWS {
        let tests: Vec<String> = row.tests.iter().map(|test| format!("`{test}`")).collect();
        let tests = tests.join(" ");
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {tests} |",
            row.peer, row.version, row.direction, row.what
        );
    }
    page.push_str(DIFFERENCES);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_line_of_five_cells() {
        let page = render("2026-01-02", &[("Go".to_owned(), "1.26".to_owned())]);
        assert!(page.contains("Run on 2026-01-02, on Linux, with Go 1.26."));
        for row in ROWS {
            let line = page
                .lines()
                .find(|line| line.contains(row.what))
                .expect("the row is there");
            assert_eq!(line.matches(" | ").count(), 4, "{line}");
        }
    }
}
