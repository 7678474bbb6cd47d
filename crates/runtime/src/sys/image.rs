//! The image that a forked process executes, made before the fork.

use std::ffi::{CString, OsStr, OsString, c_char};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::ptr;

/// The lowest number of a descriptor that a child takes over from its parent, so that none of them is overwritten when the standard
/// streams and the socket get their numbers.
const LOWEST_SOURCE: RawFd = 10;

/// Moves a descriptor to a number that no standard stream and no socket of a plugin gets. Close-on-exec is set.
///
/// # Errors
///
/// Returns the error of the operating system if there is no free descriptor.
pub(crate) fn above_streams(descriptor: OwnedFd) -> io::Result<OwnedFd> {
    if descriptor.as_raw_fd() >= LOWEST_SOURCE {
        return Ok(descriptor);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(
        descriptor.as_fd(),
        LOWEST_SOURCE,
    )?)
}

/// A program to execute: the arguments of `execve`, made before the fork.
pub(crate) struct Image {
    file: ImageFile,
    /// A descriptor that stays open in the program, at its own number.
    inherited: Option<OwnedFd>,
    /// The strings that `argv` points to.
    _arguments: Vec<CString>,
    /// The strings that `envp` points to.
    _environment: Vec<CString>,
    /// Ends with a null pointer, as `envp` does.
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
}

#[derive(Debug)]
enum ImageFile {
    Descriptor(OwnedFd),
    Path(CString),
}

// SAFETY: the pointers lead into heap buffers that the same value owns and never changes, so it may move between threads and be
// read by several.
unsafe impl Send for Image {}
// SAFETY: as above.
unsafe impl Sync for Image {}

impl fmt::Debug for Image {
    /// Leaves out the environment, whose values may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image")
            .field("file", &self.file)
            .field("inherited", &self.inherited)
            .finish_non_exhaustive()
    }
}

impl Image {
    /// Returns the program in the file that `descriptor` has open, with `arguments` (the first is its name), `environment` and
    /// nothing else. A script cannot be executed in this way: its interpreter could not open it.
    ///
    /// # Errors
    ///
    /// Returns an error of kind [`InvalidInput`](io::ErrorKind::InvalidInput) if a text contains a zero byte, or the error of
    /// the operating system if there is no free descriptor.
    pub(crate) fn of_descriptor<'a>(
        descriptor: OwnedFd,
        arguments: &[&OsStr],
        environment: impl IntoIterator<Item = (&'a OsString, &'a OsString)>,
    ) -> io::Result<Self> {
        // Its number must not be one that the child gives to something else.
        let descriptor = above_streams(descriptor)?;
        Self::new(ImageFile::Descriptor(descriptor), arguments, environment)
    }

    /// Returns the program or script at `path`; otherwise as [`of_descriptor`](Self::of_descriptor).
    ///
    /// # Errors
    ///
    /// As [`of_descriptor`](Self::of_descriptor).
    pub(crate) fn of_path<'a>(
        path: &Path,
        arguments: &[&OsStr],
        environment: impl IntoIterator<Item = (&'a OsString, &'a OsString)>,
    ) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        Self::new(ImageFile::Path(path), arguments, environment)
    }

    fn new<'a>(
        file: ImageFile,
        arguments: &[&OsStr],
        environment: impl IntoIterator<Item = (&'a OsString, &'a OsString)>,
    ) -> io::Result<Self> {
        let arguments = arguments
            .iter()
            .map(|argument| CString::new(argument.as_bytes()))
            .collect::<Result<Vec<_>, _>>()?;
        let mut variables = Vec::new();
        for (key, value) in environment {
            let mut variable = key.clone();
            variable.push("=");
            variable.push(value);
            variables.push(CString::new(variable.into_vec())?);
        }
        let (argv, envp) = (pointers(&arguments), pointers(&variables));
        Ok(Self {
            file,
            inherited: None,
            _arguments: arguments,
            _environment: variables,
            argv,
            envp,
        })
    }

    /// Has the program inherit `descriptor`, which must come from [`above_streams`], at the number that it has.
    pub(crate) fn inheriting(mut self, descriptor: OwnedFd) -> Self {
        debug_assert!(descriptor.as_raw_fd() >= LOWEST_SOURCE);
        self.inherited = Some(descriptor);
        self
    }

    /// Returns the number of the descriptor that the program inherits.
    pub(super) fn inherited(&self) -> Option<RawFd> {
        self.inherited.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Becomes the program; returns only when that failed.
    ///
    /// Called by us and not by the standard library, whose `execvp` hands a file of unknown format to a shell: a text file
    /// with the executable bit must be an error, not a script.
    pub(super) fn execute(&self) -> io::Error {
        let (argv, envp) = (self.argv.as_ptr(), self.envp.as_ptr());
        match &self.file {
            ImageFile::Path(path) => {
                // SAFETY: `path` and the strings behind `argv` and `envp` end with a zero byte, both lists end with a null
                // pointer, and all of them live as long as `self`. The call is async-signal-safe.
                unsafe { libc::execve(path.as_ptr(), argv, envp) };
            }
            ImageFile::Descriptor(descriptor) => {
                // SAFETY: as above. With an empty path and AT_EMPTY_PATH the file is that of the descriptor.
                unsafe {
                    libc::syscall(
                        libc::SYS_execveat,
                        descriptor.as_raw_fd(),
                        c"".as_ptr(),
                        argv,
                        envp,
                        libc::AT_EMPTY_PATH,
                    )
                };
            }
        }
        io::Error::last_os_error()
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([ptr::null()])
        .collect()
}
