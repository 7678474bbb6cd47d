//! `--file NAME=ID`: secrets in files in memory that are gone with the command.
//!
//! A file and not a descriptor, because commands close descriptors, pass paths to other processes and look at names. Its directory is
//! created before any secret is known, and removed by the [`Guard`] also if this program is killed.

mod directory;
mod guard;

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::env_file;
use crate::failure::Failure;
use crate::names;
use crate::reference::Reference;
use crate::reference::resolve::{Values, value};

pub(super) use guard::Guard;

/// The argument of `--file`.
#[derive(Clone, Debug)]
pub(super) struct FileOption {
    /// The variable that gets the path.
    pub(super) name: String,
    pub(super) reference: Reference,
}

/// Parses `NAME=ID`, with or without `se://` before the id. The error holds no part of the text.
pub(super) fn parse_option(text: &str) -> Result<FileOption, String> {
    const FORM: &str = "it needs the form NAME=ID, as in NPMRC=web/npmrc";
    let (name, id) = text.split_once('=').ok_or(FORM)?;
    if !env_file::is_name(name.as_bytes()) {
        return Err(FORM.to_owned());
    }
    let pattern = names::pattern(id).map_err(|error| error.to_string())?;
    Ok(FileOption {
        name: name.to_owned(),
        reference: Reference {
            pattern,
            is_open_ended: false,
        },
    })
}

/// Returns a failure if two options have the same name.
pub(super) fn reject_duplicates(options: &[FileOption]) -> Result<(), Failure> {
    for (index, option) in options.iter().enumerate() {
        if options[..index]
            .iter()
            .any(|other| other.name == option.name)
        {
            return Err(Failure::usage(
                format_args!("`--file` is given twice for {}", option.name),
                "Nothing was started; use another name",
            ));
        }
    }
    Ok(())
}

/// Writes each secret to a file in the directory, named as its variable. Returns the names and paths.
///
/// # Errors
///
/// Returns a [`Failure`] if a file cannot be written, for example because the memory of the file system is used up.
pub(super) fn write(
    options: &[FileOption],
    directory: &Path,
    values: &Values,
) -> Result<Vec<(String, PathBuf)>, Failure> {
    let paths = options.iter().map(|option| {
        let path = directory.join(&option.name);
        write_file(&path, value(values, &option.reference)).map_err(|error| {
            Failure::error(
                format_args!("the file of {} cannot be written: {error}", option.name),
                "Nothing was started; check that the file system of $XDG_RUNTIME_DIR, or /dev/shm, has space",
            )
        })?;
        Ok((option.name.clone(), path))
    });
    paths.collect()
}

fn write_file(path: &Path, value: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    // The umask may have taken the owner's rights away.
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    file.write_all(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_a_name_and_an_id() {
        for (text, name, pattern) in [
            ("NPMRC=web/npmrc", "NPMRC", "web/npmrc"),
            ("_a1=se://web/*", "_a1", "web/*"),
        ] {
            let option = parse_option(text).unwrap();
            assert_eq!(
                (option.name.as_str(), option.reference.pattern.as_str()),
                (name, pattern)
            );
        }
        for text in [
            "",
            "hunter2",
            "=hunter2",
            "1hunter2=a",
            "hunter2 =a",
            "A=hunter2 x",
            "A=",
        ] {
            let error = parse_option(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_name_is_used_once() {
        let options = ["A=x", "B=x", "A=y"].map(|text| parse_option(text).unwrap());
        assert!(reject_duplicates(&options[..2]).is_ok());
        assert!(reject_duplicates(&options).is_err());
    }
}
