//! [`Error`]: why no code was generated.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why no code was generated. Where a `.proto` file is to blame the text begins with
/// `file:line:column`.
///
/// `Debug` writes the same text as `Display`, because that is what a `build.rs` that returns the
/// error from `main` prints.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file to compile, or a folder to look in, does not exist.
    #[error("{}: there is no such {what}", path.display())]
    Missing {
        /// What was looked for.
        what: &'static str,
        /// Its path, as it was given.
        path: PathBuf,
    },
    /// A `.proto` file is wrong, or it imports one that is missing.
    #[error("{0:?}")]
    Proto(#[source] protox::Error),
    /// A `.proto` file has an edition.
    #[error(
        "{place}: files with an edition cannot be read: write the proto3 twin of this one, in which every \
         field with explicit presence is `optional`; the wire is the same"
    )]
    Edition {
        /// File, line and column.
        place: String,
        /// What the compiler says.
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
    /// A name in `redact` means nothing.
    #[error("redact: `{name}` is neither a message nor a field of one in the compiled files")]
    UnknownName {
        /// The name that was given.
        name: String,
    },
    /// Two definitions would get the same Rust name.
    #[error("{place}: {what} would be generated as `{name}`, which exists already")]
    Collision {
        /// File, line and column.
        place: String,
        /// What cannot be generated.
        what: String,
        /// Its Rust name.
        name: String,
    },
    /// No directory to write to.
    #[error("OUT_DIR is not set: outside of a build script, say where to write with `out_dir`")]
    NoOutDir,
    /// prost could not generate code for the messages.
    #[error("generating code for the messages: {0}")]
    Generate(#[source] io::Error),
    /// A file could not be written.
    #[error("writing {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Error {
    /// The compiler takes an edition for something that it does not expect.
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
        fmt::Display::fmt(self, f)
    }
}
