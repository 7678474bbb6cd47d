//! `cargo xtask dist`: builds the binaries for users.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::shell;
use crate::workspace::Workspace;

/// The plugins that are shipped: the package and the name of its executable, which is the plugin's name.
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
/// Fails if the build fails, a file cannot be written, or a binary is larger than its goal.
pub(crate) fn run(_options: &Options) -> Result<()> {
    let workspace = Workspace::load()?;
    builds(&workspace).iter_mut().try_for_each(shell::run)?;
    let built = workspace.target_directory.join(PROFILE);
    let dist = Dist::of(&workspace);
    let mut files = vec![copy(&built, "keyway", &dist.programs)?];
    for (_, name) in PLUGINS {
        files.push(copy(&built, name, &dist.plugins)?);
    }
    report(&files)
}

/// Returns the packages of the binaries, each of which is built alone.
pub(crate) fn packages() -> impl Iterator<Item = &'static str> {
    std::iter::once("keyway").chain(PLUGINS.iter().map(|(package, _)| *package))
}

/// Returns the commands that build the binaries, one by one: built together, each would get the features that any of them
/// needs.
pub(crate) fn builds(workspace: &Workspace) -> Vec<Command> {
    packages()
        .map(|package| {
            let mut command = shell::cargo(&workspace.root);
            command.args([
                "build",
                "--locked",
                "--profile",
                PROFILE,
                "--package",
                package,
            ]);
            command
        })
        .collect()
}

/// Returns the folder of the binaries for users.
pub(crate) fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target_directory.join("dist")
}

/// The folders of the binaries for users.
pub(crate) struct Dist {
    /// The folder of `keyway`.
    pub(crate) programs: PathBuf,
    pub(crate) plugins: PathBuf,
}

impl Dist {
    pub(crate) fn of(workspace: &Workspace) -> Self {
        let folder = folder(workspace);
        Self {
            programs: folder.join("bin"),
            plugins: folder.join("plugins"),
        }
    }
}

fn copy(from: &Path, name: &str, folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
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
/// Fails if a binary is larger than its goal.
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
