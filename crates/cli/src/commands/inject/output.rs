//! The file that gets the result: replaced as a whole, and readable by its owner alone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::temporary;

/// A file to be written. No message repeats its path, which is an argument.
pub(super) struct Output {
    path: PathBuf,
}

impl Output {
    /// Checks the path before any secret is requested. With `follow_link` a symbolic link stays, and its target is written.
    ///
    /// # Errors
    ///
    /// Returns a [`Failure`] if the path is a symbolic link without `follow_link`, or neither absent nor a regular file.
    pub(super) fn new(path: &Path, follow_link: bool) -> Result<Self, Failure> {
        let path = match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_symlink() && !follow_link => {
                return Err(Failure::error(
                    "OUT is a symbolic link, and its target may be read by others or be under version control",
                    "Nothing was written; name the target itself, or write through the link with --follow-link",
                ));
            }
            Ok(metadata) if metadata.is_symlink() => fs::canonicalize(path).map_err(|error| {
                Failure::error(
                    format_args!("the target of OUT cannot be found: {error}"),
                    "Nothing was written; name the target itself",
                )
            })?,
            _ => path.to_owned(),
        };
        match fs::metadata(&path) {
            Ok(metadata) if !metadata.is_file() => Err(Failure::error(
                "OUT is not a regular file",
                "Nothing was written; name a file, or leave -o out and redirect stdout",
            )),
            _ => Ok(Self { path }),
        }
    }

    /// Replaces the file. Readers see the former content or all of the new one.
    ///
    /// # Errors
    ///
    /// Returns a [`Failure`] if the directory cannot be written. The former file is unchanged then.
    pub(super) fn write(&self, content: &[u8]) -> Result<(), Failure> {
        self.replace(content).map_err(|error| {
            // The text of the error may hold the path.
            Failure::error(
                format_args!("OUT cannot be written: {}", error.kind()),
                "Check that its directory exists, that you may write in it, and that its disk has space",
            )
        })
    }

    fn replace(&self, content: &[u8]) -> io::Result<()> {
        let file = temporary::beside(&self.path, content, 0o600)?;
        file.persist(&self.path).map_err(|error| error.error)?;
        Ok(())
    }
}
