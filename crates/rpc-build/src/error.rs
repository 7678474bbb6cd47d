//! [`Error`]: failed code generation.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// The error of a code generation. If a `.proto` file is wrong, the text begins with
/// `file:line:column`.
///
/// `Debug` writes the text of the error and those of its causes, because that is what a `build.rs`
/// that returns the error from `main` prints.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file to compile, or an include directory, does not exist.
    #[error("{}: no such {what}", path.display())]
    Missing {
        /// The kind of the path.
        what: &'static str,
        /// The path as it was given.
        path: PathBuf,
    },
    /// A `.proto` file is wrong, or it imports one that is missing.
    // Not a source: `Debug` of protox writes the place and the whole text.
    #[error("{0:?}")]
    Proto(protox::Error),
    /// A `.proto` file has an edition.
    #[error(
        "{place}: files with an edition cannot be read: write the proto3 twin of this one, in which every \
         field with explicit presence is `optional`; the wire is the same"
    )]
    Edition {
        /// File, line and column.
        place: String,
        /// The error of the compiler.
        source: protox::Error,
    },
    /// The service has a method that cannot be generated.
    #[error(
        "{place}: {method} is a streaming method, and only unary ones can be generated; \
         leave it out with `skip_streaming(true)`"
    )]
    Streaming {
        /// File, line and column.
        place: String,
        /// The full name of the method.
        method: String,
    },
    /// A name in `redact` does not exist.
    #[error("redact: `{name}` is neither a message nor a field of one in the compiled files")]
    UnknownName {
        /// The name that was given.
        name: String,
    },
    /// A method in `max_request_size` does not exist.
    #[error("max_request_size: `{name}` is not a unary method in the compiled files")]
    UnknownMethod {
        /// The name that was given.
        name: String,
    },
    /// Two definitions would get the same Rust name.
    #[error("{place}: {what} would be generated as `{name}`, which exists already")]
    Collision {
        /// File, line and column.
        place: String,
        /// The definition.
        what: String,
        /// Its Rust name.
        name: String,
    },
    /// No directory to write to.
    #[error("OUT_DIR is not set: outside of a build script, set the directory with `out_dir`")]
    NoOutDir,
    /// prost could not generate code for the messages.
    #[error("generating code for the messages failed")]
    Generate(#[source] io::Error),
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

impl Error {
    /// The compiler reports an edition as an unexpected token.
    pub(crate) fn from_compiler(source: protox::Error) -> Self {
        let text = format!("{source:?}");
        match text.split_once(": expected ") {
            Some((place, rest)) if rest.ends_with("but found 'edition'") => Self::Edition {
                place: place.to_owned(),
                source,
            },
            _ => Self::Proto(source),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use keyway_test_support::assert_causes_said_once;

    use super::*;

    #[test]
    fn causes_are_said_once_and_are_a_part_of_debug() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let write = Error::Write {
            path: "a.rs".into(),
            source: denied(),
        };
        assert_causes_said_once(&write);
        assert_causes_said_once(&Error::Generate(denied()));
        assert_eq!(format!("{write:?}"), "cannot write a.rs: permission denied");
    }
}
