//! The files of a package, as they lie below a prefix such as `/usr/local`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{Dist, PLUGINS};

/// The command of the units as they are in the repository.
const PROGRAM: &str = "/usr/bin/keyway";

/// A file of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The path below the prefix, without a leading slash.
    pub(super) path: String,
    pub(super) content: Vec<u8>,
    pub(super) is_executable: bool,
}

impl Entry {
    fn read(path: impl Into<String>, from: &Path, is_executable: bool) -> Result<Self> {
        Ok(Self {
            path: path.into(),
            content: fs::read(from).with_context(|| format!("cannot read {}", from.display()))?,
            is_executable,
        })
    }

    /// Returns the mode of the file.
    pub(super) fn mode(&self) -> u32 {
        if self.is_executable { 0o755 } else { 0o644 }
    }

    /// Returns the content for a prefix. The units name the program by its path in `/usr`; below another prefix systemd looks
    /// for it, which it does in `/usr/local/bin`, too.
    pub(super) fn content_below(&self, prefix: &str) -> Vec<u8> {
        match std::str::from_utf8(&self.content) {
            Ok(text) if self.path.starts_with("lib/systemd/") && prefix != "usr" => {
                text.replace(PROGRAM, "keyway").into_bytes()
            }
            _ => self.content.clone(),
        }
    }
}

/// Reads the files that were laid out, in the order of their paths.
///
/// # Errors
///
/// Fails if a file cannot be read.
pub(super) fn read(dist: &Dist) -> Result<Vec<Entry>> {
    let mut entries = vec![Entry::read("bin/keyway", &dist.keyway(), true)?];
    for (_, name) in PLUGINS {
        // Beside the folder of the program, where the daemon finds plugins that the user may enable.
        let path = format!("lib/keyway/plugins/{name}");
        entries.push(Entry::read(path, &dist.plugins.join(name), true)?);
    }
    read_folder("share", &dist.share, &mut entries)?;
    read_folder("lib/systemd/user", &dist.units, &mut entries)?;
    entries.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(entries)
}

fn read_folder(below: &str, folder: &Path, entries: &mut Vec<Entry>) -> Result<()> {
    for file in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let file = file?;
        let path = format!("{below}/{}", file.file_name().display());
        match file.file_type()?.is_dir() {
            true => read_folder(&path, &file.path(), entries)?,
            false => entries.push(Entry::read(path, &file.path(), false)?),
        }
    }
    Ok(())
}
