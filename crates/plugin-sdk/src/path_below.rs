//! A file below a directory whose name comes from an id.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use keyway_local::file::{OpenBeneathError, open_beneath};
use keyway_secrets::Id;
use rustix::fs::{Mode, OFlags};

use crate::{ProviderError, ResultExt};

/// The path of a file below a directory, made from an id, for a store that keeps each secret in a file.
///
/// An id may have the components `.` and `..`, which would lead out of the directory; so may a link. Neither does here:
/// [`open`](Self::open) resolves the path below the directory and nowhere else, whatever other processes do meanwhile.
///
/// ```
/// use std::io::Read;
///
/// use keyway_plugin_sdk::{Envelope, ProviderError, Query, SecretValue, blocking};
///
/// async fn get(query: &Query) -> Result<Vec<Envelope>, ProviderError> {
///     let path = query.path_below("/var/lib/notes")?.strip_prefix("notes")?.with_suffix(".txt");
///     let value = blocking(move || {
///         let Some(mut file) = path.open()? else { return Ok(None) };
///         let mut value = Vec::new();
///         file.read_to_end(&mut value)?;
///         Ok(Some(SecretValue::from(value)))
///     });
///     let id = query.require_id()?;
///     Ok(value.await?.map(|value| Envelope::new(id, value)).into_iter().collect())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathBelow {
    directory: PathBuf,
    relative: PathBuf,
}

impl PathBelow {
    /// Creates the path of `id` below `directory`: one component for each of the id.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if a component is `.` or `..`.
    pub fn new(directory: impl Into<PathBuf>, id: &Id) -> Result<Self, ProviderError> {
        // An id has neither empty components nor NUL.
        if id.components().any(|part| matches!(part, "." | "..")) {
            return Err(ProviderError::invalid(
                "an id with a component `.` or `..` is not the name of a file",
            ));
        }
        Ok(Self {
            directory: directory.into(),
            relative: id.as_str().into(),
        })
    }

    /// Removes the first components, for a provider whose realm is `prefix/**`.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the path does not start with them, or has no others.
    pub fn strip_prefix(mut self, prefix: impl AsRef<Path>) -> Result<Self, ProviderError> {
        let rest = self.relative.strip_prefix(prefix).ok();
        let rest = rest.filter(|rest| !rest.as_os_str().is_empty());
        let rest = rest.ok_or_else(|| {
            ProviderError::invalid("an id outside of the directory of the store has no file")
        })?;
        self.relative = rest.to_owned();
        Ok(self)
    }

    /// Appends a suffix such as `.gpg` to the name of the file.
    #[must_use]
    pub fn with_suffix(mut self, suffix: &str) -> Self {
        self.relative.as_mut_os_string().push(suffix);
        self
    }

    /// Returns the path relative to the directory.
    #[must_use]
    pub fn relative(&self) -> &Path {
        &self.relative
    }

    /// Opens the file for reading; `None` if there is none, and for a directory. Blocks: call it within
    /// [`blocking`](crate::blocking).
    ///
    /// Links within the directory are followed on Linux 5.6 and later, and refused before.
    ///
    /// # Errors
    ///
    /// Returns
    ///
    /// - [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if a link leads out of the directory, or the suffix does,
    /// - [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the directory cannot be opened,
    /// - [`ErrorKind::Internal`](crate::ErrorKind::Internal) if the file is a FIFO, a socket or a device, or cannot be read.
    pub fn open(&self) -> Result<Option<File>, ProviderError> {
        // Not `File::open`, which would wait for the writer of a FIFO.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&self.directory, flags, Mode::empty())
            .map_err(io::Error::from)
            .or_unavailable("the directory of the store cannot be opened")?;
        match open_beneath(&directory, &self.relative) {
            Ok(file) => Ok(Some(file)),
            Err(OpenBeneathError::Io(error)) if is_absent(&error) => Ok(None),
            Err(OpenBeneathError::NotRegular(keyway_local::file::FileKind::Directory)) => Ok(None),
            Err(error @ (OpenBeneathError::Link | OpenBeneathError::Path)) => Err(
                ProviderError::invalid("the file is not below the directory of the store")
                    .with_source(error),
            ),
            Err(error) => Err(
                ProviderError::internal("a file of the store cannot be read").with_source(error),
            ),
        }
    }
}

/// Returns `true` if no file has this name, which includes names that no file can have.
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | InvalidFilename)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;
    use crate::{ErrorKind, Query};

    fn path(directory: &Path, id: &str) -> Result<PathBelow, ProviderError> {
        let query = Query::new(id.parse().unwrap(), Duration::ZERO);
        query.path_below(directory)
    }

    #[test]
    fn an_id_is_the_path_of_a_file_with_prefix_and_suffix() {
        let store = tempfile::tempdir().unwrap();
        fs::create_dir(store.path().join("web")).unwrap();
        fs::write(store.path().join("web/token.txt"), "value").unwrap();
        let read = |id: &str| {
            let path = path(store.path(), id).unwrap().strip_prefix("notes");
            let file = path.unwrap().with_suffix(".txt").open().unwrap()?;
            io::read_to_string(file).ok()
        };
        assert_eq!(read("notes/web/token").as_deref(), Some("value"));
        let long = format!("notes/{}", "x".repeat(300));
        for id in ["notes/web/none", "notes/web/token.txt/x", &long] {
            assert_eq!(read(id), None, "{id}");
        }
        let whole = path(store.path(), "web").unwrap();
        assert!(whole.open().unwrap().is_none(), "a directory");
        assert_eq!(whole.relative(), Path::new("web"));
    }

    #[test]
    fn an_id_that_leads_out_of_the_directory_is_invalid() {
        let store = tempfile::tempdir().unwrap();
        fs::write(store.path().join("secret"), "outside").unwrap();
        let directory = store.path().join("directory");
        fs::create_dir(&directory).unwrap();
        symlink("../secret", directory.join("link")).unwrap();
        for id in ["..", "../secret", "a/../b", "./a", "a/."] {
            let error = path(&directory, id).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{id}");
        }
        let link = path(&directory, "link").unwrap().open().unwrap_err();
        assert_eq!(link.kind(), ErrorKind::Invalid);
        let suffix = path(&directory, "a").unwrap().with_suffix("/../../secret");
        assert_eq!(suffix.open().unwrap_err().kind(), ErrorKind::Invalid);
        for id in ["notes", "other/a"] {
            let prefix = path(&directory, id).unwrap().strip_prefix("notes");
            assert_eq!(prefix.unwrap_err().kind(), ErrorKind::Invalid, "{id}");
        }
    }

    #[test]
    fn patterns_and_absent_directories_are_failures() {
        let pattern = path(Path::new("/"), "a/*").unwrap_err();
        assert_eq!(pattern.kind(), ErrorKind::CannotList);
        let store = tempfile::tempdir().unwrap();
        let (file, fifo) = (store.path().join("file"), store.path().join("fifo"));
        fs::write(&file, "not a directory").unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
        for directory in ["/no/such/directory".as_ref(), "".as_ref(), &*file, &*fifo] {
            let path = path(directory, "a").unwrap();
            let error = path.open().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{directory:?}");
        }
    }

    #[test]
    fn a_link_is_followed_as_far_as_it_stays_in_the_directory() {
        let store = tempfile::tempdir().unwrap();
        let directory = store.path().join("directory");
        fs::create_dir_all(directory.join("a/b")).unwrap();
        fs::write(directory.join("a/b/file"), "inside").unwrap();
        fs::write(store.path().join("file"), "outside").unwrap();
        symlink("directory", store.path().join("root")).unwrap();
        symlink("a", directory.join("inner")).unwrap();
        symlink("../..", directory.join("a/outer")).unwrap();
        symlink(store.path(), directory.join("a/absolute")).unwrap();
        symlink("loop", directory.join("loop")).unwrap();
        let open = |root: &str, id: &str| path(&store.path().join(root), id).unwrap().open();
        // The author chose the directory, which may be a link itself.
        for (root, id) in [("root", "a/b/file"), ("directory", "inner/b/file")] {
            let file = open(root, id).unwrap().expect("a file");
            assert_eq!(io::read_to_string(file).unwrap(), "inside");
        }
        for id in ["a/outer/file", "inner/outer/file", "a/absolute/file"] {
            let error = open("directory", id).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{id}");
        }
        let error = open("directory", "loop/file").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
    }

    #[test]
    fn a_file_that_is_replaced_by_a_link_is_not_followed() {
        let store = tempfile::tempdir().unwrap();
        fs::write(store.path().join("outside"), "outside").unwrap();
        let directory = store.path().join("directory");
        fs::create_dir_all(directory.join("a")).unwrap();
        fs::write(directory.join("a/outside"), "inside").unwrap();
        symlink("..", directory.join("link")).unwrap();
        let path = path(&directory, "a/outside").unwrap();
        let mut file = path.open().unwrap().expect("a file");
        fs::rename(directory.join("a"), directory.join("b")).unwrap();
        fs::rename(directory.join("link"), directory.join("a")).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "inside");
        assert_eq!(path.open().unwrap_err().kind(), ErrorKind::Invalid);
    }
}
