//! The static program: `keyway` with musl, which runs on any Linux of its architecture.

use std::env::consts::ARCH;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{Dist, PROFILE, copy, report};
use crate::shell;
use crate::workspace::Workspace;

fn target() -> String {
    format!("{ARCH}-unknown-linux-musl")
}

/// Returns what this machine lacks to build it.
///
/// # Errors
///
/// Fails if the compiler cannot be started.
pub(super) fn missing(workspace: &Workspace) -> Result<Option<String>> {
    let target = target();
    let mut rustc = Command::new("rustc");
    let sysroot = shell::read(
        rustc
            .args(["--print", "sysroot"])
            .current_dir(&workspace.root),
    )?;
    let library = Path::new(sysroot.trim()).join("lib/rustlib").join(&target);
    Ok((!library.exists()).then(|| format!("`rustup target add {target}`")))
}

/// Returns the command that builds it with a profile.
fn command(workspace: &Workspace, profile: &str) -> Command {
    let mut command = shell::cargo(&workspace.root);
    command.args(["build", "--locked", "--profile", profile]);
    command.args(["--package", "keyway", "--target", &target()]);
    command
}

/// Returns the command that builds it without optimisation, which takes a fraction of the time and shows that the program works.
pub(super) fn unoptimised(workspace: &Workspace) -> Command {
    command(workspace, "dev")
}

/// Builds it without optimisation and returns its path.
///
/// # Errors
///
/// Fails if the build fails.
pub(super) fn build_unoptimised(workspace: &Workspace) -> Result<PathBuf> {
    shell::run(&mut unoptimised(workspace))?;
    Ok(workspace
        .target_directory
        .join(target())
        .join("debug/keyway"))
}

/// Builds it, lays it out, and returns its path.
///
/// # Errors
///
/// Fails if the build fails, the file cannot be written, or the program is larger than its goal.
pub(super) fn build(workspace: &Workspace, dist: &Dist) -> Result<PathBuf> {
    shell::run(&mut command(workspace, PROFILE))?;
    let built = workspace.target_directory.join(target()).join(PROFILE);
    let program = copy(&built, "keyway", &dist.root.join("static"))?;
    report(std::slice::from_ref(&program))?;
    Ok(program)
}
