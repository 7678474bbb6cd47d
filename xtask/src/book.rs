//! `cargo xtask book`: builds the book of `docs/book` with mdBook, and checks every link in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use html5gum::{Token, Tokenizer};

use crate::links::{self, REPOSITORY};
use crate::shell;
use crate::workspace::Workspace;

/// The program that builds the book, with the argument that shows its version.
pub(crate) const MDBOOK: (&str, &str) = ("mdbook", "--version");

/// Pages of mdBook itself: one repeats all others, and the other one is read at any address.
const OWN_PAGES: [&str; 2] = ["print.html", "404.html"];

/// Options of `cargo xtask book`.
#[derive(Args)]
pub(crate) struct Options {}

/// Builds the book into `target/book` and checks its links.
///
/// # Errors
///
/// Fails if mdBook is missing or fails, and if a link leads nowhere.
pub(crate) fn run(_: &Options) -> Result<()> {
    let workspace = Workspace::load()?;
    if !shell::exists(MDBOOK.0, MDBOOK.1) {
        bail!("mdbook is missing: `cargo install --locked mdbook` installs it");
    }
    build(&workspace)?;
    println!(
        "{}",
        workspace.target_directory.join("book/index.html").display()
    );
    Ok(())
}

/// Builds the book and checks its links.
///
/// # Errors
///
/// Fails if mdBook fails, and if a link leads nowhere.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    let target = workspace.target_directory.join("book");
    let mut mdbook = Command::new(MDBOOK.0);
    mdbook
        .arg("build")
        .arg(workspace.root.join("docs/book"))
        .arg("--dest-dir")
        .arg(&target);
    shell::run(&mut mdbook)?;
    let mut pages = BTreeMap::new();
    read_pages(&target, &mut pages)?;
    let faults = faults(&workspace.root, &target, &pages);
    if !faults.is_empty() {
        bail!("links of the book:\n  {}", faults.join("\n  "));
    }
    Ok(())
}

/// The links of a page and the anchors in it.
#[derive(Default)]
struct Page {
    links: Vec<String>,
    anchors: BTreeSet<String>,
}

impl Page {
    fn parse(html: &str) -> Self {
        let mut page = Self::default();
        for token in Tokenizer::new(html) {
            let Ok(Token::StartTag(tag)) = token else {
                continue;
            };
            for (name, value) in &tag.attributes {
                let value = String::from_utf8_lossy(value).into_owned();
                match &name[..] {
                    b"href" | b"src" => page.links.push(value),
                    b"id" => {
                        page.anchors.insert(value);
                    }
                    _ => {}
                }
            }
        }
        page
    }
}

fn read_pages(folder: &Path, pages: &mut BTreeMap<PathBuf, Page>) -> Result<()> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry?.path();
        if path.is_dir() {
            read_pages(&path, pages)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "html")
            && !OWN_PAGES.iter().any(|page| path.ends_with(page))
        {
            let html = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            pages.insert(path, Page::parse(&html));
        }
    }
    Ok(())
}

/// Returns a fault for each link without a target.
fn faults(root: &Path, target: &Path, pages: &BTreeMap<PathBuf, Page>) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, page) in pages {
        let name = path.strip_prefix(target).unwrap_or(path).display();
        for link in &page.links {
            if let Some(in_repository) = link.strip_prefix(REPOSITORY) {
                if !root.join(in_repository).exists() {
                    faults.push(format!("{name}: {link}: the repository has no such file"));
                }
            } else if !links::has_scheme(link) && !leads_somewhere(path, link, pages) {
                faults.push(format!("{name}: {link}: no such page or heading"));
            }
        }
    }
    faults
}

fn leads_somewhere(from: &Path, link: &str, pages: &BTreeMap<PathBuf, Page>) -> bool {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let path = match file {
        "" => from.to_owned(),
        file => links::normalized(&from.with_file_name("").join(file)),
    };
    match pages.get(&path) {
        Some(page) => anchor.is_empty() || page.anchors.contains(anchor),
        None => anchor.is_empty() && path.is_file(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_a_page_or_a_heading() {
        let one = "<a href=\"two.html#there\"></a><a href=\"#gone\"></a><a href=\"https://x.example/\"></a>";
        let two = "<h2 id=\"there\"></h2><a href=../one.html></a>";
        let pages = BTreeMap::from([
            (PathBuf::from("/b/one.html"), Page::parse(one)),
            (PathBuf::from("/b/two.html"), Page::parse(two)),
        ]);
        let faults = faults(Path::new("/"), Path::new("/b"), &pages);
        assert_eq!(
            faults,
            [
                "one.html: #gone: no such page or heading",
                "two.html: ../one.html: no such page or heading"
            ]
        );
    }
}
