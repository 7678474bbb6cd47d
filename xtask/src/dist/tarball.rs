//! The tarball, for distributions without a package.

use std::env::consts::ARCH;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use super::tree::Entry;
use super::{Dist, source_date};
use crate::workspace::Workspace;

/// Writes `keyway-VERSION-ARCH-linux.tar.gz` and returns its path.
///
/// # Errors
///
/// Fails if the file cannot be written.
pub(super) fn write(workspace: &Workspace, dist: &Dist, tree: &[Entry]) -> Result<PathBuf> {
    let version = workspace.version("keyway")?;
    let name = format!("keyway-{version}-{ARCH}-linux");
    let path = dist.root.join(format!("{name}.tar.gz"));
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    pack(BufWriter::new(file), &name, tree, source_date(workspace)?)?;
    println!("{}", path.display());
    Ok(path)
}

/// Writes the files below one directory `name`. The same files give the same bytes.
fn pack(output: impl Write, name: &str, tree: &[Entry], time: u64) -> Result<()> {
    let gzip = GzBuilder::new().write(output, Compression::best());
    let mut archive = Builder::new(gzip);
    for entry in tree {
        let content = entry.content_below("");
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(entry.mode());
        header.set_mtime(time);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len().try_into()?);
        archive.append_data(&mut header, format!("{name}/{}", entry.path), &*content)?;
    }
    archive.into_inner()?.finish()?.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use flate2::read::GzDecoder;
    use tar::Archive;

    use super::*;

    #[test]
    fn the_files_of_a_tarball_belong_to_root_and_have_one_time() {
        let entry = |path: &str, is_executable| Entry {
            path: path.to_owned(),
            content: b"ExecStart=/usr/bin/keyway serve\n".to_vec(),
            is_executable,
        };
        let tree = [
            entry("bin/keyway", true),
            entry("lib/systemd/user/keyway.service", false),
        ];
        let mut packed = Vec::new();
        pack(&mut packed, "keyway-1", &tree, 1_700_000_000).unwrap();
        let mut archive = Archive::new(GzDecoder::new(&*packed));
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            std::io::Read::read_to_string(&mut entry, &mut content).unwrap();
            let header = entry.header();
            assert_eq!(header.uid().unwrap() + header.gid().unwrap(), 0);
            assert_eq!(header.mtime().unwrap(), 1_700_000_000);
            let path = entry.path().unwrap().display().to_string();
            (path, header.mode().unwrap(), content)
        });
        let entries: Vec<_> = entries.collect();
        assert_eq!(
            entries,
            [
                (
                    "keyway-1/bin/keyway".to_owned(),
                    0o755,
                    "ExecStart=/usr/bin/keyway serve\n".to_owned()
                ),
                (
                    "keyway-1/lib/systemd/user/keyway.service".to_owned(),
                    0o644,
                    "ExecStart=keyway serve\n".to_owned()
                ),
            ]
        );
        let mut again = Vec::new();
        pack(&mut again, "keyway-1", &tree, 1_700_000_000).unwrap();
        assert_eq!(packed, again);
    }
}
