//! Backups: a tar archive of the encrypted files of a store.
//!
//! ```text
//! keyway-backup.json  the format, and the time of the backup
//! identity.age        the identity, if a passphrase protects it
//! recipients.txt      as in the store
//! index.age           as in the store
//! values/*.age        as in the store
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use keyway_secrets::SecretValue;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use tar::{Archive, Builder, EntryType, Header};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use super::identity::{self, MAX_KEY_FILE_LEN, RECIPIENTS_FILE};
use super::index::{self, is_random_name};
use super::keys::already_exists;
use super::reader::{MAX_INDEX_LEN, MAX_VALUE_FILE_LEN};
use super::steps::{self, Step};
use super::{INDEX_FILE, Store, VALUES_DIR, private};
use crate::StoreError;
use crate::config::{PROTECTED_IDENTITY, Passphrase};

/// Name of the first entry.
const MANIFEST: &str = "keyway-backup.json";
/// The format that this version writes, and the newest that it supports.
const FORMAT: u32 = 1;
/// Largest manifest in bytes.
const MAX_MANIFEST_LEN: u64 = 4096;

/// The content of the manifest.
#[derive(Deserialize, Serialize)]
struct Manifest {
    format: u32,
    /// Milliseconds since 1970.
    created_at_ms: u64,
}

/// The result of [`Store::back_up`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct BackupReport {
    /// Number of value files, one per stored version.
    pub n_values: usize,
    /// Length of the backup in bytes.
    pub len: u64,
    /// `true` if the backup holds the identity, protected by a passphrase.
    pub has_identity: bool,
}

/// A backup whose structure was read and whose content was not yet checked. No key was needed for that.
#[derive(Debug)]
pub struct Backup {
    path: PathBuf,
    file: File,
    created_at_ms: u64,
    /// The identity as it is in the archive, protected by a passphrase.
    pub(super) identity: Option<Vec<u8>>,
    pub(super) recipients: Option<Vec<u8>>,
    pub(super) index: Vec<u8>,
}

/// The kind of an entry of the archive.
enum Part {
    Manifest,
    Identity,
    Recipients,
    Index,
    /// The value file of this name, without its extension.
    Value(String),
}

impl Store {
    /// Writes a backup to `file`, durably and with mode 0600: the index, all values, the further recipients, and the identity if a
    /// passphrase protects it. Of an unprotected identity, which would open the backup for everyone, the backup holds none, or one
    /// that `passphrase` protects.
    ///
    /// Needs no key unless `passphrase` is given. Writers wait meanwhile. The file gets its name only when it is complete.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::NoStore`] if there is no store, [`StoreError::Exists`] if the file exists and `overwrite` is `false`,
    /// [`StoreError::Locked`] if a writer holds the lock for the whole timeout, and another [`StoreError`] if a file cannot be read or
    /// written.
    pub fn back_up(
        &self,
        file: &Path,
        overwrite: bool,
        passphrase: Option<&SecretValue>,
    ) -> Result<BackupReport, StoreError> {
        if !private::check_dir(self.config.dir())? || private::open(&self.index_path())?.is_none() {
            return Err(self.no_store());
        }
        if !overwrite && file.symlink_metadata().is_ok() {
            let path = file.to_owned();
            return Err(StoreError::Exists { path });
        }
        let dir = match file.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let failed = |error| StoreError::io("write", file)(error);
        let uncreated = |error| StoreError::io("create", file)(error);
        fs::metadata(dir).map_err(uncreated)?;
        // Its error repeats the path of the temporary file.
        let temporary =
            NamedTempFile::new_in(dir).map_err(|error| uncreated(io::Error::from(error.kind())))?;
        let lock = self.lock()?;
        let identity = self.identity_to_back_up(passphrase)?;
        let mut report = BackupReport {
            n_values: 0,
            len: 0,
            has_identity: identity.is_some(),
        };
        let mut writer = ArchiveWriter::new(temporary.as_file());
        writer.begin().map_err(failed)?;
        if let Some(identity) = identity {
            writer.add(PROTECTED_IDENTITY, &identity).map_err(failed)?;
        }
        for (name, limit) in [
            (RECIPIENTS_FILE, MAX_KEY_FILE_LEN),
            (INDEX_FILE, MAX_INDEX_LEN),
        ] {
            if let Some(content) = private::load(&self.config.dir().join(name), limit)? {
                writer.add(name, &content).map_err(failed)?;
            }
        }
        for (name, path) in self.value_files()? {
            if let Some(content) = private::load(&path, MAX_VALUE_FILE_LEN)? {
                let name = format!("{VALUES_DIR}/{name}.age");
                writer.add(&name, &content).map_err(failed)?;
                report.n_values += 1;
            }
        }
        drop(lock);
        report.len = writer.finish().map_err(failed)?;
        temporary.as_file().sync_all().map_err(failed)?;
        steps::reached(Step::Synced);
        let named = match overwrite {
            true => temporary.persist(file),
            false => temporary.persist_noclobber(file),
        };
        named.map_err(|error| already_exists(file)(failed(error.error)))?;
        steps::reached(Step::Renamed);
        private::sync_dir(dir)?;
        Ok(report)
    }

    /// Returns the protected identity for a backup, if it is to hold one.
    fn identity_to_back_up(
        &self,
        passphrase: Option<&SecretValue>,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        for path in self.identity_paths() {
            match identity::read_file(&path)? {
                Some(content) if identity::is_protected(&content) => return Ok(Some(content)),
                _ => {}
            }
        }
        let Some(passphrase) = passphrase else {
            return Ok(None);
        };
        let text = identity::read_text(&self.config)?.ok_or_else(|| self.identity_missing())?;
        let passphrase = Passphrase::Entered(passphrase.clone());
        identity::encrypt_text(&self.config, &passphrase, &text)
            .map(|sealed| Some(Zeroizing::new(sealed)))
    }
}

/// Writes the entries of a backup.
struct ArchiveWriter<'a> {
    builder: Builder<BufWriter<&'a File>>,
    created_at_ms: u64,
}

impl<'a> ArchiveWriter<'a> {
    fn new(file: &'a File) -> Self {
        Self {
            builder: Builder::new(BufWriter::new(file)),
            created_at_ms: index::now_ms(),
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        let manifest = Manifest {
            format: FORMAT,
            created_at_ms: self.created_at_ms,
        };
        self.add(MANIFEST, &serde_json::to_vec(&manifest)?)
    }

    fn add(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o600);
        header.set_mtime(self.created_at_ms / 1000);
        header.set_size(content.len() as u64);
        self.builder.append_data(&mut header, name, content)?;
        steps::reached(Step::Written);
        Ok(())
    }

    /// Returns the length of the archive.
    fn finish(self) -> io::Result<u64> {
        let mut file = self.builder.into_inner()?;
        file.flush()?;
        Ok(file.get_ref().metadata()?.len())
    }
}

impl Backup {
    /// Reads the structure of a backup.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::InvalidBackup`] if the file is not a backup, and [`StoreError::Io`] if it cannot be read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // Without NONBLOCK, opening a FIFO would wait forever for its writer.
        let mut options = OpenOptions::new();
        options
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let file = options.open(path).map_err(StoreError::io("open", path))?;
        let metadata = file.metadata().map_err(StoreError::io("examine", path))?;
        if !metadata.is_file() {
            return Err(invalid(path, "it is not a regular file"));
        }
        let (mut created_at_ms, mut identity, mut recipients, mut index) = (None, None, None, None);
        walk(path, &file, |part, content| {
            match (part, created_at_ms) {
                (Part::Manifest, None) => created_at_ms = Some(read_manifest(path, &content)?),
                (Part::Manifest, Some(_)) | (_, None) => return Err(not_a_backup(path)),
                (Part::Identity, _) => identity = Some(content),
                (Part::Recipients, _) => recipients = Some(content),
                (Part::Index, _) => index = Some(content),
                (Part::Value(_), _) => {}
            }
            Ok(())
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            created_at_ms: created_at_ms.ok_or_else(|| not_a_backup(path))?,
            identity,
            recipients,
            index: index.ok_or_else(|| invalid(path, "it holds no index"))?,
        })
    }

    /// Returns the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the time of the backup; `None` if the system cannot represent it.
    pub fn created_at(&self) -> Option<SystemTime> {
        index::time(self.created_at_ms)
    }

    /// Returns `true` if the backup holds the identity that opens it, protected by a passphrase.
    pub fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// Calls `visit` with the name and the encrypted content of each value file, in the order of the archive.
    pub(super) fn each_value(
        &self,
        mut visit: impl FnMut(&str, &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        walk(&self.path, &self.file, |part, content| match part {
            Part::Value(name) => visit(&name, &content),
            _ => Ok(()),
        })
    }
}

/// Reads the archive from its beginning. The size of each entry is bounded by the limits of a store.
fn walk(
    path: &Path,
    mut file: &File,
    mut visit: impl FnMut(Part, Vec<u8>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    file.rewind().map_err(StoreError::io("read", path))?;
    let mut archive = Archive::new(BufReader::new(file));
    // Raw: extensions of the format, such as names of any length, are not read.
    let entries = archive.entries().map_err(|_| damaged(path))?.raw(true);
    for entry in entries {
        let mut entry = entry.map_err(|_| damaged(path))?;
        let is_regular = entry.header().entry_type() == EntryType::Regular;
        let part = Part::of(&entry.path_bytes()).filter(|_| is_regular);
        let part = part.ok_or_else(|| not_a_backup(path))?;
        let size = entry.size();
        if size > part.limit() {
            return Err(invalid(path, "one of its files is too large"));
        }
        let mut content = Vec::new();
        let read = (&mut entry).take(size).read_to_end(&mut content);
        if read.map_err(|_| damaged(path))? as u64 != size {
            return Err(damaged(path));
        }
        visit(part, content)?;
    }
    Ok(())
}

impl Part {
    fn of(name: &[u8]) -> Option<Self> {
        let name = str::from_utf8(name).ok()?;
        Some(match name {
            MANIFEST => Self::Manifest,
            PROTECTED_IDENTITY => Self::Identity,
            RECIPIENTS_FILE => Self::Recipients,
            INDEX_FILE => Self::Index,
            name => {
                let file = name.strip_prefix(VALUES_DIR)?.strip_prefix('/')?;
                let file = file.strip_suffix(".age")?;
                is_random_name(file).then(|| Self::Value(file.to_owned()))?
            }
        })
    }

    /// Largest content in bytes.
    fn limit(&self) -> u64 {
        match self {
            Self::Manifest => MAX_MANIFEST_LEN,
            Self::Identity | Self::Recipients => MAX_KEY_FILE_LEN,
            Self::Index => MAX_INDEX_LEN,
            Self::Value(_) => MAX_VALUE_FILE_LEN,
        }
    }
}

/// Returns the time of the backup, in milliseconds since 1970.
fn read_manifest(path: &Path, content: &[u8]) -> Result<u64, StoreError> {
    let manifest: Manifest = serde_json::from_slice(content).map_err(|_| not_a_backup(path))?;
    match manifest.format {
        FORMAT => Ok(manifest.created_at_ms),
        found => Err(StoreError::UnknownFormat {
            path: path.to_owned(),
            found,
            supported: FORMAT,
        }),
    }
}

fn not_a_backup(path: &Path) -> StoreError {
    invalid(path, "it is not the backup of a file store")
}

fn damaged(path: &Path) -> StoreError {
    invalid(path, "it is damaged or truncated")
}

pub(super) fn invalid(path: &Path, reason: &str) -> StoreError {
    StoreError::InvalidBackup {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}
