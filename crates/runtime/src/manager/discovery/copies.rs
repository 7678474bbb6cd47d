//! Finds plugins that are copies of each other.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use crate::model::{FileIdentity, PluginName};

/// Larger files are not compared.
const MAX_LEN: u64 = 64 * 1024 * 1024;

/// Finds plugins with the same bytes. Files that were compared once are not read again while neither changes.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    compared: HashMap<(FileKey, FileKey), bool>,
}

/// The parts of a [`FileIdentity`], for a map.
type FileKey = (u64, u64, u64, i64);

impl Copies {
    /// Returns each plugin that has the bytes of another one, with the first such plugin by name. Two names of one file are not
    /// copies: a link is meant.
    ///
    /// Sizes are compared first, then bytes until they differ, of files up to 64 MiB. Blocks.
    pub(super) fn find<'a>(
        &mut self,
        plugins: impl Iterator<Item = (&'a PluginName, &'a Path)>,
    ) -> Vec<(PluginName, PluginName)> {
        let mut by_size: BTreeMap<u64, Vec<(&PluginName, &Path, FileIdentity)>> = BTreeMap::new();
        for (name, path) in plugins {
            if let Some(identity) = FileIdentity::of(path) {
                by_size
                    .entry(identity.size)
                    .or_default()
                    .push((name, path, identity));
            }
        }
        let mut found = Vec::new();
        let mut compared = HashMap::new();
        for group in by_size.values() {
            for (index, (name, path, identity)) in group.iter().enumerate() {
                let before = &group[..index];
                let is_one_file = |other: &FileIdentity| {
                    (identity.device, identity.inode) == (other.device, other.inode)
                };
                if before.iter().any(|(.., other)| is_one_file(other)) {
                    continue;
                }
                let first = before.iter().find(|(_, other, of_other)| {
                    self.is_copy((path, identity), (other, of_other), &mut compared)
                });
                if let Some((first, ..)) = first {
                    found.push(((*name).clone(), (*first).clone()));
                }
            }
        }
        // Results of former versions of files are dropped.
        self.compared = compared;
        found
    }

    fn is_copy(
        &self,
        (path, identity): (&Path, &FileIdentity),
        (other, of_other): (&Path, &FileIdentity),
        compared: &mut HashMap<(FileKey, FileKey), bool>,
    ) -> bool {
        if !(1..=MAX_LEN).contains(&identity.size) {
            return false;
        }
        let pair = (key(identity), key(of_other));
        let is_copy = match self.compared.get(&pair) {
            Some(is_copy) => *is_copy,
            // A file that cannot be read is reported elsewhere, if it matters.
            None => have_same_bytes(path, other).unwrap_or(false),
        };
        compared.insert(pair, is_copy);
        is_copy
    }
}

fn key(identity: &FileIdentity) -> FileKey {
    (
        identity.device,
        identity.inode,
        identity.size,
        identity.modified_ns,
    )
}

fn have_same_bytes(one: &Path, other: &Path) -> io::Result<bool> {
    let open = |path: &Path| -> io::Result<BufReader<File>> {
        let file = keyway_local::file::open_regular(path, MAX_LEN).map_err(io::Error::other)?;
        Ok(BufReader::with_capacity(64 * 1024, file))
    };
    let (mut one, mut other) = (open(one)?, open(other)?);
    loop {
        let (a, b) = (one.fill_buf()?, other.fill_buf()?);
        let len = a.len().min(b.len());
        if len == 0 {
            return Ok(a.is_empty() && b.is_empty());
        }
        if a[..len] != b[..len] {
            return Ok(false);
        }
        one.consume(len);
        other.consume(len);
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn find(copies: &mut Copies, directory: &Path) -> Vec<(String, String)> {
        let mut plugins: Vec<(PluginName, PathBuf)> = std::fs::read_dir(directory)
            .expect("listed")
            .map(|entry| entry.expect("an entry").path())
            .map(|path| (PluginName::from_executable(&path).expect("a name"), path))
            .collect();
        plugins.sort();
        let plugins = plugins.iter().map(|(name, path)| (name, path.as_path()));
        let found = copies.find(plugins).into_iter();
        found
            .map(|(name, first)| (name.into(), first.into()))
            .collect()
    }

    #[test]
    fn copies_are_found_by_their_bytes_and_links_are_not() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| directory.path().join(name);
        let long = "x".repeat(200_000);
        for (name, text) in [
            ("a", long.clone() + "1"),
            ("b", long.clone() + "2"),
            ("c", long.clone() + "1"),
            ("d", "short".into()),
            ("e", String::new()),
            ("f", String::new()),
        ] {
            std::fs::write(path(name), text).expect("written");
        }
        std::os::unix::fs::symlink(path("a"), path("link")).expect("a link");
        let mut copies = Copies::default();
        let found = [("c".to_owned(), "a".to_owned())];
        assert_eq!(find(&mut copies, directory.path()), found);
        assert_eq!(find(&mut copies, directory.path()), found);
        std::fs::write(path("c"), long + "3").expect("written");
        assert_eq!(find(&mut copies, directory.path()), []);
    }
}
