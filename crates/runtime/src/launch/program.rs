//! The executable of a specification: opened, checked, and copied if it is pinned.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use super::bound::Bound;
use super::error::{LaunchError, Refusal, prepare_error};
use super::executable::{hash, head, shebang};
use super::memory::{CreateMemoryFile, Use, sealed_copy};
use super::script::Shebang;
use super::spec::LaunchSpec;
use crate::config::Sha256;
use crate::sys::image::{Image, above_streams};

/// The first bytes of every native program.
const ELF_MAGIC: &[u8] = b"\x7fELF";

/// The program that is executed for a plugin.
#[derive(Debug)]
pub(super) struct Program {
    /// The image that is tried first.
    pub(super) image: Image,
    /// The image that is tried if the first cannot be executed for one certain reason.
    pub(super) fallback: Option<Fallback>,
}

/// A second way to execute the same file.
#[derive(Debug)]
pub(super) struct Fallback {
    image: Image,
    /// The errors of the first way that lead here.
    after: &'static [i32],
    /// The reason for taking it, for the log.
    reason: &'static str,
}

impl Program {
    fn of(image: Image) -> Self {
        Self {
            image,
            fallback: None,
        }
    }

    /// Returns the image to try after the first one ended with `error`.
    pub(super) fn after(fallback: Option<Fallback>, error: &io::Error) -> Option<Image> {
        let code = error.raw_os_error()?;
        let fallback = fallback.filter(|fallback| fallback.after.contains(&code))?;
        tracing::info!(%error, "{}", fallback.reason);
        Some(fallback.image)
    }
}

/// Makes a program of `file`, which is the opened and checked executable of `spec`; hashes and copies it if it is pinned.
/// Blocks, at most until `bound` has elapsed.
///
/// The executed content is the checked one: a native program is executed through the descriptor whose owner, mode and content
/// were examined.
///
/// # Errors
///
/// Returns [`LaunchError::Refused`] if the file is not the pinned one or cannot be pinned, and the errors of reading and
/// copying it.
pub(super) fn prepare(
    spec: &LaunchSpec,
    file: File,
    bound: &Bound,
    create: CreateMemoryFile,
) -> Result<Program, LaunchError> {
    match spec.sha256 {
        None => unpinned(spec, file),
        Some(expected) => Pinning {
            spec,
            bound,
            create,
            expected,
        }
        .program(file),
    }
}

fn unpinned(spec: &LaunchSpec, file: File) -> Result<Program, LaunchError> {
    let by_path =
        Image::of_path(&spec.executable, &[&spec.argv0], &spec.environment).map_err(hand_over())?;
    if !head(&file, &spec.executable)?.starts_with(ELF_MAGIC) {
        // An interpreter has to open its script again, by a path that lasts. Only we and root can exchange the file.
        return Ok(Program::of(by_path));
    }
    Ok(Program {
        image: of_descriptor(spec, file.into())?,
        fallback: Some(Fallback {
            image: by_path,
            // A program for another machine that an emulator runs (binfmt_misc), or a kernel without `execveat`.
            after: &[libc::ENOENT, libc::ENOSYS],
            reason: "an executable is run by its path, because it cannot be run by its descriptor",
        }),
    })
}

/// Makes a program from a file that has to have one checksum.
struct Pinning<'a> {
    spec: &'a LaunchSpec,
    bound: &'a Bound,
    create: CreateMemoryFile,
    expected: Sha256,
}

impl Pinning<'_> {
    /// The file is hashed first, so that a wrong one takes no memory. Then a sealed copy is made and hashed: whatever happens to
    /// the file afterwards, the checked bytes run.
    fn program(&self, file: File) -> Result<Program, LaunchError> {
        self.check(&file)?;
        let path = &*self.spec.executable;
        if shebang(&file, path)?.is_some() {
            let memory = self.create(Use::Read).map_err(create_memory())?;
            return self.script(self.checked_copy(&file, memory)?);
        }
        let memory = match self.create(Use::Execute) {
            Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
                tracing::info!(%error, "{DIRECTLY}");
                return Ok(Program::of(of_descriptor(self.spec, file.into())?));
            }
            memory => memory.map_err(create_memory())?,
        };
        let copy = self.checked_copy(&file, memory)?;
        Ok(Program {
            image: of_descriptor(self.spec, copy.into())?,
            fallback: Some(Fallback {
                image: of_descriptor(self.spec, file.into())?,
                after: &[libc::EACCES, libc::EPERM],
                reason: DIRECTLY,
            }),
        })
    }

    /// A script is read by its interpreter, which inherits the descriptor of the copy.
    fn script(&self, copy: File) -> Result<Program, LaunchError> {
        let Shebang {
            interpreter,
            argument,
        } = shebang(&copy, &self.spec.executable)?.ok_or_else(|| LaunchError::Execute {
            path: self.spec.executable.clone(),
            source: io::Error::from_raw_os_error(libc::ENOEXEC),
        })?;
        let copy = above_streams(copy.into()).map_err(hand_over())?;
        let script = format!("/proc/self/fd/{}", copy.as_raw_fd());
        let arguments: Vec<&OsStr> = [&*interpreter]
            .into_iter()
            .chain(argument.as_deref())
            .chain([OsStr::new(&script)])
            .collect();
        let image = Image::of_path(Path::new(&interpreter), &arguments, &self.spec.environment)
            .map_err(hand_over())?;
        Ok(Program::of(image.inheriting(copy)))
    }

    fn create(&self, purpose: Use) -> io::Result<OwnedFd> {
        (self.create)(self.spec.name.as_str(), purpose)
    }

    fn checked_copy(&self, file: &File, memory: OwnedFd) -> Result<File, LaunchError> {
        let copy = sealed_copy(file, &self.spec.executable, memory, self.bound)?;
        self.check(&copy)?;
        Ok(copy)
    }

    fn check(&self, file: &File) -> Result<(), LaunchError> {
        let actual = hash(file, &self.spec.executable, self.bound)?;
        if actual == self.expected {
            return Ok(());
        }
        Err(LaunchError::Refused(Refusal::Pin {
            name: self.spec.name.clone(),
            pinned_by: self.spec.pinned_by,
            expected: self.expected,
            actual,
        }))
    }
}

/// The file itself is executed through the descriptor that was hashed. Only we and root can write it; that was checked.
const DIRECTLY: &str =
    "a pinned executable is run without a copy, because memory files may not be executed here";

fn of_descriptor(spec: &LaunchSpec, descriptor: OwnedFd) -> Result<Image, LaunchError> {
    Image::of_descriptor(descriptor, &[&spec.argv0], &spec.environment).map_err(hand_over())
}

fn hand_over() -> impl FnOnce(io::Error) -> LaunchError {
    prepare_error("hand over name and environment")
}

fn create_memory() -> impl FnOnce(io::Error) -> LaunchError {
    prepare_error("create a file in memory")
}
