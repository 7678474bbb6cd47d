//! What accompanies the programs: manual pages, completions, units, documents.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::Dist;
use crate::shell;
use crate::workspace::Workspace;

/// The shells with completions, each with the place where it looks for those of a package.
const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "bash-completion/completions/keyway"),
    ("zsh", "zsh/site-functions/_keyway"),
    ("fish", "fish/vendor_completions.d/keyway.fish"),
];

/// The documents of the repository that are part of each package.
const DOCUMENTS: &[&str] = &["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"];

/// The units of systemd, which `keyway service install` writes for programs without a package.
const UNITS: &[&str] = &["keyway.service", "keyway.socket"];

/// Writes everything, in place of what a former run wrote.
///
/// # Errors
///
/// Fails if the program does not print what is expected of it, or a file cannot be written.
pub(super) fn lay_out(workspace: &Workspace, dist: &Dist) -> Result<()> {
    for folder in [&dist.share, &dist.units] {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
    }
    for (shell, path) in COMPLETIONS {
        let script = shell::read(Command::new(dist.keyway()).args(["completions", shell]))?;
        write(&dist.share.join(path), script.as_bytes())?;
    }
    let manual = dist.share.join("man/man1");
    fs::create_dir_all(&manual)?;
    shell::run(Command::new(dist.keyway()).arg("man").arg(&manual))?;
    let documents = dist.share.join("doc/keyway");
    for name in DOCUMENTS {
        copy(&workspace.root.join(name), &documents.join(name))?;
    }
    let units = workspace.root.join("crates/cli/src/commands/service");
    for name in UNITS {
        copy(&units.join(name), &dist.units.join(name))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    write(to, &content)
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    let folder = path.parent().context("a path below target")?;
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, content))
        .with_context(|| format!("cannot write {}", path.display()))
}
