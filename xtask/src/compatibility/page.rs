//! The page's text.

use std::fmt::Write as _;

use super::rows::ROWS;

const HEAD: &str = "# Compatibility

<!-- Written by `cargo xtask compatibility` from the results of the interop tests; do not edit. -->

Keyway implements the plugin protocol of docker/secrets-engine ([protocol.md](protocol.md)). Every test of each row below
passed; a pairing in which no request was made fails. The Go programs are built on the libraries that
the reference uses and call them as it does; the recordings are of programs built on its own SDKs.
";

const DIFFERENCES: &str = "
## Intended differences

| matter | the reference | Keyway | why |
| --- | --- | --- | --- |
| providers that are called | those whose pattern includes the query or the other way round; an inclusion test that is not exact | those whose realm overlaps the query, exactly | `a/**/c` and `a/b/**` have ids in common, and a provider of both must be called |
| a secret outside of the provider's realm | passed on | dropped, and logged as a realm violation | a provider must not overrule the realm of another |
| several providers | sequentially, the first value is used | concurrently, ranked; a failed provider is never replaced by a lower one | ten providers cost little more than one, and a program gets the right value or none |
| no match, and a provider failed | `not_found` | `unavailable`, naming the providers | a failure must not look like an absent secret |
| partial results | not distinguished | certain ids are returned with the headers `keyway-failed-providers` and `keyway-failures-bin` | the same |
| connections | every process that reaches the abstract socket | the same user, by the kernel's credentials, unless configured | an abstract socket has no permissions |
| a plugin's environment | the launch variable alone | an allow-list besides it | plugins find their home and their locale |
| start | serves after every plugin has registered or timed out | serves at once | a bad file delays no other plugin |
| compressed responses | every response, of any size | never; compressed ones are accepted | it costs more than it saves on a local socket |
| a disabled external plugin | not listed | stopped, and listed so that it can be enabled | only the user can start it again |
| plugins before SDK v0.0.9 | served at that time | stopped, with the advice to rebuild them | they do not support patterns |
";

/// Renders the page.
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
                .expect("the page has the row");
            assert_eq!(line.matches(" | ").count(), 4, "{line}");
        }
    }
}
