//! The stock packages of Node.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use keyway_test_support::require;

/// Returns the folder in which the packages and the programs that use them are installed; `None` without Node.
///
/// # Errors
///
/// Fails if the packages cannot be installed.
///
/// # Panics
///
/// Panics if Node is missing and `KEYWAY_REQUIRE_ALL` is `1`.
pub(crate) fn node() -> Result<Option<PathBuf>> {
    if !(require::has_program("node") && require::has_program("npm")) {
        return Ok(None);
    }
    install().map(Some)
}

/// Copies the programs to the target directory and installs their packages there, once for a version of the lock file. Tests may
/// call this concurrently.
fn install() -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop/connect-node");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("connect-node");
    fs::create_dir_all(&folder)?;
    let lock_file = fs::File::create(folder.join("in-use"))?;
    lock_file.lock()?;
    let lock = fs::read(source.join("package-lock.json"))?;
    let is_installed = fs::read(folder.join("installed")).is_ok_and(|installed| installed == lock);
    for file in [
        "client.mjs",
        "server.mjs",
        "package.json",
        "package-lock.json",
    ] {
        fs::copy(source.join(file), folder.join(file))
            .with_context(|| format!("copying {file}"))?;
    }
    if !is_installed {
        let mut install = Command::new("npm");
        install
            .args(["ci", "--no-audit", "--no-fund"])
            .current_dir(&folder);
        ensure!(install.status()?.success(), "npm ci failed");
        fs::write(folder.join("installed"), lock)?;
    }
    Ok(folder)
}
