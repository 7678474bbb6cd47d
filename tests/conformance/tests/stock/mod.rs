//! The stock packages of Node.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// The folder in which the packages and our programs are installed, if Node is.
///
/// # Errors
///
/// The packages cannot be installed; or Node is missing where nothing may be skipped.
pub(crate) fn node() -> Result<Option<PathBuf>> {
    if exists("node") && exists("npm") {
        return install().map(Some);
    }
    skip("needs Node 20 or later, with npm").map(|()| None)
}

fn exists(program: &str) -> bool {
    let mut command = Command::new(program);
    command
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A skipped test says so loudly, and fails where nothing may be skipped.
#[allow(clippy::print_stderr, reason = "a skip must be seen")]
fn skip(reason: &str) -> Result<()> {
    if env::var_os("KEYWAY_REQUIRE_ALL").is_some_and(|value| value == "1") {
        bail!("{reason}, and KEYWAY_REQUIRE_ALL=1 forbids skipping it");
    }
    eprintln!("skipped: {reason}");
    Ok(())
}

/// Copies the programs to the target directory and installs there what they need, once for a
/// version of their lock file. Tests may do so at the same time.
fn install() -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop/connect-node");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("connect-node");
    fs::create_dir_all(&folder)?;
    let turn = fs::File::create(folder.join("turn"))?;
    turn.lock()?;
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
