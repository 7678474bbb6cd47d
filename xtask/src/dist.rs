//! `cargo xtask dist`: the binaries that are given to users.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::shell;
use crate::workspace::Workspace;

/// The plugins that ship: the package and the name of its executable, which is the plugin's name.
pub(crate) const PLUGINS: &[(&str, &str)] =
    &[("keyway-plugin-env", "env"), ("keyway-plugin-file", "file")];

const PROFILE: &str = "ship";

/// The goals for the sizes of stripped binaries, in bytes.
const KEYWAY_GOAL: u64 = 8 * 1024 * 1024;
const PLUGIN_GOAL: u64 = 5 * 1024 * 1024 / 2;

/// Options of `cargo xtask dist`.
#[derive(Args)]
pub(crate) struct Options {}

/// Builds and lays out `target/dist`.
///
/// # Errors
///
/// When the build fails, a file cannot be written, or a binary is larger than its goal.
pub(crate) fn run(_options: &Options) -> Result<()> {
    let workspace = Workspace::load()?;
    // One by one: built together, each would get the features that any of them needs.
    for package in ["keyway"]
        .iter()
        .chain(PLUGINS.iter().map(|(package, _)| package))
    {
        shell::run(shell::cargo(&workspace.root).args([
            "build",
            "--locked",
            "--profile",
            PROFILE,
            "--package",
            package,
        ]))?;
    }

    let built = workspace.target_directory.join(PROFILE);
    let dist = workspace.target_directory.join("dist");
    let mut files = vec![copy(&built, "keyway", &dist.join("bin"))?];
    for (_, name) in PLUGINS {
        files.push(copy(&built, name, &dist.join("plugins"))?);
    }
    report(&files)
}

fn copy(from: &Path, name: &str, folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let target = folder.join(name);
    // A running executable cannot be overwritten, but its name can be given to a new file.
    let fresh = folder.join(format!(".{name}.new"));
    fs::copy(from.join(name), &fresh)
        .and_then(|_| fs::rename(&fresh, &target))
        .with_context(|| format!("cannot write {}", target.display()))?;
    Ok(target)
}

/// Prints each size.
///
/// # Errors
///
/// A binary is larger than its goal.
fn report(files: &[PathBuf]) -> Result<()> {
    let mut too_large = Vec::new();
    for file in files {
        let size = fs::metadata(file)?.len();
        println!("{size:>10} bytes  {}", file.display());
        let goal = if file.ends_with("bin/keyway") {
            KEYWAY_GOAL
        } else {
            PLUGIN_GOAL
        };
        if size > goal {
            too_large.push(format!(
                "{} has {size} bytes, and its goal is {goal}",
                file.display()
            ));
        }
    }
    ensure!(too_large.is_empty(), "{}", too_large.join("; "));
    Ok(())
}
