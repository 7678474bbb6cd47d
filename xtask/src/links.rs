//! The links in the Markdown files of the repository.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use pulldown_cmark::{Event, Parser, Tag};

use crate::shell;
use crate::workspace::Workspace;

/// The address of a file of the repository, for pages that are read elsewhere.
pub(crate) const REPOSITORY: &str = "https://github.com/keyway-secrets/keyway/blob/main/";

/// Checks that each link between files of the repository leads to one.
///
/// # Errors
///
/// Fails with all links that lead nowhere.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let mut list = Command::new("git");
    list.args(["ls-files", "--", "*.md"])
        .current_dir(&workspace.root);
    let mut faults = Vec::new();
    for name in shell::read(&mut list)?.lines() {
        let path = workspace.root.join(name);
        // A file that was removed and is not committed yet.
        if path.exists() {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
            let faulty = faults_in(&workspace.root, &path, &text);
            faults.extend(faulty.map(|link| format!("{name}: {link}")));
        }
    }
    if !faults.is_empty() {
        bail!(
            "links to files that do not exist:\n  {}",
            faults.join("\n  ")
        );
    }
    Ok(())
}

fn faults_in<'a>(root: &Path, path: &Path, text: &'a str) -> impl Iterator<Item = String> + 'a {
    let root = root.to_owned();
    let folder = path.with_file_name("");
    Parser::new(text).filter_map(move |event| {
        let Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) = event else {
            return None;
        };
        let (file, _) = dest_url.split_once('#').unwrap_or((&dest_url, ""));
        let target = match file.strip_prefix(REPOSITORY) {
            Some(file) => root.join(file),
            None if file.is_empty() || has_scheme(file) => return None,
            None => normalized(&folder.join(file)),
        };
        (!target.exists()).then(|| dest_url.to_string())
    })
}

/// Returns whether a link names a scheme, such as `https`.
pub(crate) fn has_scheme(link: &str) -> bool {
    let scheme = link.split_once(':').map_or("", |(scheme, _)| scheme);
    !scheme.is_empty()
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// Returns the path without `.` and `..`.
pub(crate) fn normalized(path: &Path) -> PathBuf {
    let mut normalized = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                normalized.pop();
            }
            Component::CurDir => {}
            component => normalized.push(component),
        }
    }
    normalized
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_a_file_that_does_not_exist_is_a_fault() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = format!(
            "[a](Cargo.toml) [b](src/../gone.md#x) [c](#here) [d](mailto:ann@example.com) [e]({REPOSITORY}gone)"
        );
        let faults: Vec<_> = faults_in(root, &root.join("page.md"), &text).collect();
        assert_eq!(
            faults,
            ["src/../gone.md#x".to_owned(), format!("{REPOSITORY}gone")]
        );
    }
}
