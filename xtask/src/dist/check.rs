//! Checks of what was built: each program and package is tried as its user would.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use keyway_test_support::{Daemon, Home, feed, require, text};
use tar::Archive;

use super::PROFILE;
use super::tree::Entry;
use crate::shell;
use crate::workspace::Workspace;

const VALUE: &str = "correct-horse-battery-staple";

/// Files without which a package is not complete, one of each kind.
const NEEDED: &[&str] = &[
    "bin/keyway",
    "lib/keyway/plugins/env",
    "lib/systemd/user/keyway.service",
    "lib/systemd/user/keyway.socket",
    "share/bash-completion/completions/keyway",
    "share/doc/keyway/README.md",
    "share/fish/vendor_completions.d/keyway.fish",
    "share/man/man1/keyway.1",
    "share/zsh/site-functions/_keyway",
];

/// Checks that `cargo install --path crates/cli` installs one program, which is enough. It has the profile of the other programs,
/// so that it is not compiled again.
///
/// # Errors
///
/// Fails if cargo fails, or the program does not work.
pub(super) fn installed_by_cargo(workspace: &Workspace) -> Result<()> {
    let root = tempfile::tempdir()?;
    let mut install = shell::cargo(&workspace.root);
    install
        .args(["install", "--locked", "--path", "crates/cli"])
        .args(["--profile", PROFILE, "--target-dir"])
        .arg(&workspace.target_directory)
        .arg("--root")
        .arg(root.path());
    shell::run(&mut install)?;
    let programs = root.path().join("bin");
    let installed: Vec<_> = fs::read_dir(&programs)?.collect::<Result<_, _>>()?;
    ensure!(installed.len() == 1, "more than one program was installed");
    works(&programs.join("keyway"), &["file"])
}

/// Checks the program that is to run on any Linux.
///
/// # Errors
///
/// Fails if it needs a dynamic linker, or does not work.
pub(super) fn static_program(program: &Path) -> Result<()> {
    let content = fs::read(program)?;
    for linker in ["/ld-linux", "/ld-musl"] {
        let mut windows = content.windows(linker.len());
        let is_dynamic = windows.any(|window| window == linker.as_bytes());
        ensure!(!is_dynamic, "{} needs {linker}", program.display());
    }
    works(program, &["file"])
}

/// Checks that a package has everything.
///
/// # Errors
///
/// Fails if a file is missing.
pub(super) fn complete(tree: &[Entry]) -> Result<()> {
    for path in NEEDED {
        let is_there = tree.iter().any(|entry| entry.path == *path);
        ensure!(is_there, "{path} is not among the files of the packages");
    }
    Ok(())
}

/// Unpacks the tarball and checks that its program works.
///
/// # Errors
///
/// Fails if the tarball cannot be read, or the program does not work.
pub(super) fn tarball(path: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    Archive::new(GzDecoder::new(File::open(path)?)).unpack(folder.path())?;
    let name = path.file_name().and_then(|name| name.to_str());
    let prefix = name
        .and_then(|name| name.strip_suffix(".tar.gz"))
        .context("the tarball has another name")?;
    works(
        &folder.path().join(prefix).join("bin/keyway"),
        &["file", "env"],
    )
}

/// Checks the Debian package by the rules of Debian, and installs and removes it in a directory of its own.
///
/// # Errors
///
/// Fails if the package breaks a rule, cannot be installed, leaves files behind, or its program does not work.
pub(super) fn debian(package: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    control(package, &folder.path().join("control"))?;
    contents(package)?;
    if shell::exists("lintian", "--version") {
        let lintian = ["--fail-on", "error,warning", "--allow-root"];
        shell::run(Command::new("lintian").args(lintian).arg(package))?;
    }
    if !require::has_root() {
        return Ok(());
    }
    let root = Root::new(folder.path().join("root"))?;
    shell::run(root.dpkg(&["--install"]).arg(package))?;
    let changed = shell::read(&mut root.dpkg(&["--verify", "keyway"]))?;
    ensure!(changed.is_empty(), "installed files differ:\n{changed}");
    works(&root.0.join("usr/bin/keyway"), &["file", "env"])?;
    shell::run(&mut root.dpkg(&["--purge", "keyway"]))?;
    ensure!(!root.0.join("usr").exists(), "files were left behind");
    Ok(())
}

/// Checks the files with which dpkg works: none of them is a script that runs as root.
fn control(package: &Path, folder: &Path) -> Result<()> {
    let extract = [
        "--control".as_ref(),
        package.as_os_str(),
        folder.as_os_str(),
    ];
    shell::run(Command::new("dpkg-deb").args(extract))?;
    let mut names: Vec<_> = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<Result<_>>()?;
    names.sort();
    ensure!(names == ["control", "md5sums"], "there are {names:?}");
    let control = fs::read_to_string(folder.join("control"))?;
    for field in [
        "Package: keyway\n",
        "Version: ",
        "Architecture: ",
        "Maintainer: ",
        "Installed-Size: ",
        "Depends: libc6 (>= ",
        "Section: utils\n",
        "Priority: optional\n",
        "Homepage: ",
        "Description: ",
    ] {
        ensure!(control.contains(field), "no `{field}` in\n{control}");
    }
    Ok(())
}

/// Checks that every file belongs to root, is below `/usr`, and can be written by its owner only.
fn contents(package: &Path) -> Result<()> {
    let listing = shell::read(Command::new("dpkg-deb").arg("--contents").arg(package))?;
    for line in listing.lines() {
        let mut columns = line.split_whitespace();
        let (mode, owner) = (columns.next(), columns.next());
        let path = columns.next_back().unwrap_or_default();
        let is_executable = path.starts_with("./usr/bin/") || path.contains("/keyway/plugins/");
        let expected = match path.ends_with('/') {
            true => "drwxr-xr-x",
            false if is_executable => "-rwxr-xr-x",
            false => "-rw-r--r--",
        };
        ensure!(
            mode == Some(expected)
                && owner == Some("root/root")
                && (path == "./" || path.starts_with("./usr/")),
            "unexpected in the package: {line}"
        );
    }
    Ok(())
}

/// A directory in which dpkg installs packages.
struct Root(PathBuf);

impl Root {
    fn new(root: PathBuf) -> Result<Self> {
        let database = root.join("var/lib/dpkg");
        fs::create_dir_all(database.join("info"))?;
        fs::create_dir_all(database.join("updates"))?;
        fs::write(database.join("status"), "")?;
        fs::write(database.join("available"), "")?;
        Ok(Self(root))
    }

    /// Returns a call of dpkg. The libraries of the programs are those of this machine.
    fn dpkg(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("dpkg");
        command
            .arg(format!("--root={}", self.0.display()))
            .args(["--force-depends", "--log=/dev/null"])
            .args(arguments);
        command
    }
}

/// Checks that a program is a working engine in an empty home, and that its daemon lists these plugins.
fn works(program: &Path, plugins: &[&str]) -> Result<()> {
    let home = Home::new();
    let keyway = |arguments: &[&str], input: &str| {
        let output = feed(home.command(program).args(arguments), input.as_bytes());
        let line = arguments.join(" ");
        ensure!(
            output.status.success(),
            "`keyway {line}` of {} failed: {}",
            program.display(),
            text(&output.stderr)
        );
        Ok(text(&output.stdout))
    };
    keyway(&["set", "dist/value"], VALUE)?;
    let daemon = Daemon::try_start(home.command(program).arg("serve"), |_| {})?;
    let value = keyway(&["get", "--value", "dist/value"], "")?;
    ensure!(value == VALUE, "another value was returned");
    let listed = keyway(&["plugins"], "")?;
    for name in plugins {
        let is_listed = listed.lines().any(|line| line.contains(name));
        ensure!(is_listed, "{name} is not listed:\n{listed}");
    }
    let (status, _) = daemon.stop();
    ensure!(status.success(), "the daemon ended with {status}");
    println!("{} works", program.display());
    Ok(())
}
