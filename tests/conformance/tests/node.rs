//! The stock Connect clients of Node and of browsers against the suite's service.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use keyway_conformance::server;
use tokio::net::TcpListener;

#[tokio::test]
async fn stock_clients_of_node_and_browsers_understand_the_server() -> Result<()> {
    if !(exists("node") && exists("npm")) {
        return skip("needs Node 20 or later, with npm");
    }
    let folder = install()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let serving = tokio::spawn(server::serve_listener(listener));
    let mut client = tokio::process::Command::new("node");
    client
        .args(["client.mjs", &url, server::DESCRIPTORS_PATH])
        .current_dir(folder)
        .kill_on_drop(true);
    let output = client.output().await.context("starting node")?;
    serving.abort();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    ensure!(output.status.success(), "{stdout}\n{stderr}");
    let passed = stdout
        .lines()
        .filter(|line| line.ends_with("7 cases passed"))
        .count();
    ensure!(passed == 6, "all cases over all six transports: {stdout}");
    Ok(())
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

/// Copies the client to the target directory and installs there what it needs, once for a
/// version of its lock file.
fn install() -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop/connect-node");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("connect-node");
    fs::create_dir_all(&folder)?;
    let lock = fs::read(source.join("package-lock.json"))?;
    let is_installed = fs::read(folder.join("installed")).is_ok_and(|installed| installed == lock);
    for file in ["client.mjs", "package.json", "package-lock.json"] {
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
