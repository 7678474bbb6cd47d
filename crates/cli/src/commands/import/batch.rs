//! The files of one import.

use std::env;
use std::path::{Path, PathBuf};

use keyway_secrets::Id;

use super::formats::Format;
use super::place::Place;
use super::plan::{FilePlan, Ids, Line, Vault, classify_fields};
use super::source::Source;
use crate::failure::Failure;

/// The files whose values are moved together.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) files: Vec<FileImport>,
    /// Why other files are left as they are.
    pub(super) refused: Vec<(PathBuf, Failure)>,
}

/// One file with what happens to its values.
pub(super) struct FileImport {
    pub(super) source: Source,
    pub(super) format: Format,
    pub(super) place: Place,
    pub(super) plan: FilePlan,
}

/// What the command line says about all files.
pub(super) struct Rules<'a> {
    pub(super) format: Option<Format>,
    pub(super) prefix: Option<&'a Id>,
    pub(super) breaks_hard_links: bool,
}

impl Batch {
    /// Reads the files and proposes ids for their secrets.
    ///
    /// # Errors
    ///
    /// Returns a [`Failure`] if the store cannot be read.
    pub(super) fn read(
        paths: &[PathBuf],
        rules: &Rules<'_>,
        vault: &impl Vault,
    ) -> Result<Self, Failure> {
        let mut batch = Self::default();
        let mut ids = Ids::default();
        for path in paths {
            match FileImport::read(path, rules) {
                Ok(file)
                    if batch
                        .files
                        .iter()
                        .any(|other| other.source.path == file.source.path) => {}
                Ok(mut file) => {
                    ids.assign(&mut file.plan, &file.place.names, vault)?;
                    batch.files.push(file);
                }
                Err(failure) => batch.refused.push((path.clone(), failure)),
            }
        }
        Ok(batch)
    }

    /// Returns the positions of all values: that of the file, and that of the value in it.
    pub(super) fn positions(&self) -> impl Iterator<Item = (usize, usize)> {
        let files = self.files.iter().enumerate();
        files.flat_map(|(file, import)| (0..import.plan.lines.len()).map(move |line| (file, line)))
    }

    /// Returns the position of a row; rows are counted from one.
    pub(super) fn position(&self, row: usize) -> Option<(usize, usize)> {
        self.positions().nth(row.checked_sub(1)?)
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        self.files.iter().flat_map(|file| &file.plan.lines)
    }

    /// Returns how many values are moved.
    pub(super) fn n_moved(&self) -> usize {
        self.files.iter().map(|file| file.plan.n_moved()).sum()
    }

    /// Returns out of how many files values are moved.
    pub(super) fn n_files(&self) -> usize {
        self.files
            .iter()
            .filter(|file| file.plan.n_moved() > 0)
            .count()
    }

    /// Returns `true` if a file or a value cannot be moved.
    pub(super) fn is_partial(&self) -> bool {
        !self.refused.is_empty() || self.lines().any(Line::is_refused)
    }
}

impl FileImport {
    fn read(path: &Path, rules: &Rules<'_>) -> Result<Self, Failure> {
        let source = Source::open(path, rules.breaks_hard_links)?;
        let format = rules
            .format
            .or_else(|| Format::of_path(path))
            .or_else(|| Format::of_path(&source.path));
        let format = format.ok_or_else(|| {
            Failure::usage(
                format_args!(
                    "the name of {} says nothing about its format",
                    path.display()
                ),
                "Name the format with --format; `keyway import --help` lists them",
            )
        })?;
        let parsed = format.parse(&source.text).map_err(|error| {
            Failure::error(
                format_args!(
                    "line {} of {} cannot be read: {}",
                    error.line,
                    path.display(),
                    error.reason
                ),
                "The file is as it was; correct the line, or give another --format",
            )
        })?;
        let home = env::var_os("HOME").and_then(|home| PathBuf::from(home).canonicalize().ok());
        let mut place = Place::of(&source.path, format, home.as_deref());
        if let Some(prefix) = rules.prefix {
            place.names = prefix.components().map(str::to_owned).collect();
        }
        Ok(Self {
            plan: classify_fields(parsed.fields, parsed.notes),
            source,
            format,
            place,
        })
    }
}
