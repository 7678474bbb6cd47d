//! The pages of `docs/book`: what a page shows is what happens in a new home.

mod commands;
mod page;
mod session;

use std::path::{Path, PathBuf};

use keyway_test_support::require;

use self::page::Page;
use crate::addresses::has_namespace;
use crate::support::user_manager;

const BOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/book/src");

/// Follows a page, or reports what this machine lacks.
fn follow(name: &str) {
    let markdown = std::fs::read_to_string(Path::new(BOOK).join(name)).unwrap();
    let page = Page::parse(&markdown);
    if page.steps.is_empty() {
        return;
    }
    let can_follow = has_namespace("--net")
        && page.needs.iter().all(|name| require::has_program(name))
        && (!page.has_user_manager || user_manager::can_start());
    if can_follow {
        session::follow(name, &page);
    }
}

/// Makes a test of each page, and the list of them.
macro_rules! pages {
    ($($test:ident: $page:literal,)*) => {
        const PAGES: &[&str] = &[$($page),*];

        $(#[test]
        fn $test() {
            follow($page);
        })*
    };
}

pages! {
    introduction: "introduction.md",
    install: "start/install.md",
    quick_start: "start/quick-start.md",
    moving: "start/moving.md",
    upgrading: "start/upgrading.md",
    git: "tasks/git.md",
    docker: "tasks/docker.md",
    compose: "tasks/compose.md",
    npm: "tasks/npm.md",
    pip: "tasks/pip.md",
    cargo: "tasks/cargo.md",
    aws: "tasks/aws.md",
    ssh: "tasks/ssh.md",
    make: "tasks/make.md",
    direnv: "tasks/direnv.md",
    ansible: "tasks/ansible.md",
    cron: "tasks/cron.md",
    ci: "tasks/ci.md",
    any: "tasks/any.md",
    command_reference: "reference/commands.md",
    running: "reference/running.md",
    storing: "reference/storing.md",
    exit_codes: "reference/exit-codes.md",
    env_files: "reference/env-files.md",
    configuration: "reference/configuration.md",
    plugins: "reference/plugins.md",
    resolution: "reference/resolution.md",
    protocol: "reference/protocol.md",
    compatibility: "reference/compatibility.md",
    clients: "clients/overview.md",
    python: "clients/python.md",
    go: "clients/go.md",
    node: "clients/node.md",
    shell: "clients/shell.md",
    rust: "clients/rust.md",
    systemd: "operations/systemd.md",
    logs: "operations/logs.md",
    audit: "operations/audit.md",
    backup: "operations/backup.md",
    threat_model: "security/threat-model.md",
    authorization: "security/authorization.md",
    values: "security/values.md",
    comparison: "comparison.md",
}

#[test]
fn readme() {
    follow("../../../README.md");
}

#[test]
fn readme_of_the_program() {
    follow("../../../crates/cli/README.md");
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false => found.push(path),
        }
    }
}

#[test]
fn every_page_is_in_the_table_of_contents_and_followed_by_a_test() {
    let summary = std::fs::read_to_string(Path::new(BOOK).join("SUMMARY.md")).unwrap();
    let mut found = Vec::new();
    files(Path::new(BOOK), &mut found);
    for path in found {
        let page = path.strip_prefix(BOOK).unwrap().to_str().unwrap();
        if page == "SUMMARY.md" || !page.ends_with(".md") {
            continue;
        }
        assert!(
            summary.contains(&format!("({page})")),
            "{page}: not in SUMMARY.md"
        );
        assert!(PAGES.contains(&page), "{page}: not in `pages!`");
    }
}

#[test]
fn rust_on_a_page_is_a_documentation_test() {
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/src/lib.rs");
    let tests = std::fs::read_to_string(tests).unwrap();
    for name in PAGES {
        let page = Page::parse(&std::fs::read_to_string(Path::new(BOOK).join(name)).unwrap());
        assert!(
            !page.has_rust || tests.contains(&format!("docs/book/src/{name}")),
            "{name}: its Rust is not compiled by tests/src/lib.rs"
        );
    }
}
