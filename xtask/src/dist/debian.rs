//! The Debian package, made by `dpkg-deb` from a directory.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};

use super::tree::Entry;
use super::{Dist, source_date};
use crate::shell;
use crate::workspace::Workspace;

/// The programs of Debian that make a package.
const TOOLS: &[&str] = &["dpkg", "dpkg-deb", "dpkg-shlibdeps"];

const MAINTAINER: &str = "Keyway developers <keyway-secrets@users.noreply.github.com>";

const HOMEPAGE: &str = "https://github.com/keyway-secrets/keyway";

/// The description: the first line, and text of which each line begins with a space.
const DESCRIPTION: &str = "\
local secrets manager with a plugin system
 Programs query one local daemon for secrets, and plugins provide them, one
 for each store. An encrypted file store is built in. Files of projects hold
 references, which `keyway run` replaces in the environment of a command.
 .
 The daemon runs as a user: `systemctl --user enable --now keyway.socket`
 starts it at the first request.";

const COPYRIGHT: &str = "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: Keyway
Source: https://github.com/keyway-secrets/keyway

Files: *
Copyright: the Keyway developers
License: MIT or Apache-2.0

License: Apache-2.0
 On Debian systems, the full text of the Apache License, version 2.0, is in
 /usr/share/common-licenses/Apache-2.0.

License: MIT
";

/// Returns what this machine lacks to make the package.
pub(super) fn missing() -> Option<String> {
    let mut missing = TOOLS
        .iter()
        .filter(|tool| !shell::exists(tool, "--version"));
    missing.next().map(|tool| (*tool).to_owned())
}

/// Writes `keyway_VERSION_ARCH.deb` and returns its path.
///
/// # Errors
///
/// Fails if a program of Debian fails, or a file cannot be written.
pub(super) fn write(workspace: &Workspace, dist: &Dist, tree: &[Entry]) -> Result<PathBuf> {
    let version = workspace.version("keyway")?;
    let time = source_date(workspace)?;
    let architecture = shell::read(Command::new("dpkg").arg("--print-architecture"))?;
    let staging = tempfile::tempdir_in(&dist.root)?;
    let root = staging.path().join("root");
    let files = files(workspace, tree, version, time)?;
    for file in &files {
        place(&root, file)?;
    }
    let control = control(
        &Fields {
            version,
            architecture: architecture.trim(),
            depends: dependencies(staging.path(), &root, &files)?.trim(),
        },
        &files,
    );
    let checksums = shell::read(
        Command::new("md5sum")
            .args(files.iter().map(|file| &file.path))
            .current_dir(&root),
    )?;
    for (name, content) in [("control", control), ("md5sums", checksums)] {
        let path = format!("DEBIAN/{name}");
        let content = content.into_bytes();
        place(
            &root,
            &Entry {
                path,
                content,
                is_executable: false,
            },
        )?;
    }
    let name = format!("keyway_{version}_{}.deb", architecture.trim());
    let package = dist.root.join(name);
    shell::run(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Zxz", "--build"])
            .args([&root, &package])
            .env("SOURCE_DATE_EPOCH", time.to_string()),
    )?;
    Ok(package)
}

/// Returns the files of the package, in the order of their paths: those of every package where Debian has them.
fn files(workspace: &Workspace, tree: &[Entry], version: &str, time: u64) -> Result<Vec<Entry>> {
    let mut files = Vec::new();
    for entry in tree {
        let content = entry.content_below("usr");
        let (path, content) = match entry.path.as_str() {
            // The text of the licences is in `copyright`.
            path if path.contains("/LICENSE-") => continue,
            path if path.starts_with("share/man/") => (format!("{path}.gz"), compress(&content)?),
            "share/doc/keyway/CHANGELOG.md" => (
                "share/doc/keyway/CHANGELOG.md.gz".to_owned(),
                compress(&content)?,
            ),
            path => (
                path.replace("zsh/site-functions", "zsh/vendor-completions"),
                content,
            ),
        };
        files.push(Entry {
            path: format!("usr/{path}"),
            content,
            ..*entry
        });
    }
    let mit = fs::read_to_string(workspace.root.join("LICENSE-MIT"))?;
    let document = |name: &str, content| Entry {
        path: format!("usr/share/doc/keyway/{name}"),
        content,
        is_executable: false,
    };
    files.push(document(
        "copyright",
        format!("{COPYRIGHT}{}", indent(&mit)).into_bytes(),
    ));
    files.push(document(
        "changelog.gz",
        compress(changelog(version, time)?.as_bytes())?,
    ));
    files.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(files)
}

/// Writes a file below `root` with its mode, and the directories above it with theirs, which the umask would change.
fn place(root: &Path, file: &Entry) -> Result<()> {
    let path = root.join(&file.path);
    let folder = path.parent().context("a path below the root")?;
    fs::create_dir_all(folder)?;
    for directory in folder.ancestors().take_while(|path| path.starts_with(root)) {
        fs::set_permissions(directory, Permissions::from_mode(0o755))?;
    }
    fs::write(&path, &file.content)
        .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(file.mode())))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Compresses without a name or a time, as `gzip -9n`.
fn compress(content: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = GzBuilder::new().write(Vec::new(), Compression::best());
    gzip.write_all(content)?;
    Ok(gzip.finish()?)
}

/// Formats a text as part of a field of a control file.
fn indent(text: &str) -> String {
    let lines = text.lines().map(|line| match line.trim_end() {
        "" => " .\n".to_owned(),
        line => format!(" {line}\n"),
    });
    lines.collect()
}

/// Returns the changelog in Debian's format. The notable changes are in the other one.
fn changelog(version: &str, time: u64) -> Result<String> {
    let date = format!("--date=@{time}");
    let date = shell::read(
        Command::new("date")
            .args(["--utc", "--rfc-email", &date])
            .env("LC_ALL", "C"),
    )?;
    Ok(format!(
        "keyway ({version}) stable; urgency=medium\n\n  * The changes are in CHANGELOG.md.gz.\n\n -- {MAINTAINER}  {date}"
    ))
}

/// Returns the packages that the programs need, by their libraries.
fn dependencies(staging: &Path, root: &Path, files: &[Entry]) -> Result<String> {
    // The tool wants to run in a source package, and recognises the directory of the package by the one of the control files.
    fs::create_dir(root.join("DEBIAN"))?;
    let source =
        format!("Source: keyway\nMaintainer: {MAINTAINER}\n\nPackage: keyway\nArchitecture: any\n");
    fs::create_dir(staging.join("debian"))?;
    fs::write(staging.join("debian/control"), source)?;
    let programs = files.iter().filter(|file| file.is_executable);
    let output = shell::read(
        Command::new("dpkg-shlibdeps")
            .arg("-O")
            .args(programs.map(|file| root.join(&file.path)))
            .current_dir(staging),
    )?;
    let depends = output.strip_prefix("shlibs:Depends=");
    depends
        .map(str::to_owned)
        .with_context(|| format!("dpkg-shlibdeps printed {output:?}"))
}

/// What differs from build to build.
struct Fields<'a> {
    version: &'a str,
    architecture: &'a str,
    depends: &'a str,
}

fn control(fields: &Fields<'_>, files: &[Entry]) -> String {
    let Fields {
        version,
        architecture,
        depends,
    } = fields;
    // Each file takes whole blocks of 1 KiB, as dpkg-gencontrol counts.
    let size: usize = files
        .iter()
        .map(|file| file.content.len().div_ceil(1024))
        .sum();
    format!(
        "Package: keyway\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: {MAINTAINER}\nInstalled-Size: {size}\n\
         Depends: {depends}\nSection: utils\nPriority: optional\nHomepage: {HOMEPAGE}\nDescription: {DESCRIPTION}\n"
    )
}
