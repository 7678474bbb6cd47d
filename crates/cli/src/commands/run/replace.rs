//! Becoming the command: its environment with the secrets in it, and `execve`.
//!
//! Nothing of this process is left afterwards, so no copy of a secret is either, whoever made it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use keyway_secrets::{Id, SecretValue};
use rustix::io::Errno;

use super::plan::{Plan, Value};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::process;

/// Replaces this program by the command. `values` has a value for each reference of the plan.
///
/// Returns only when that did not work.
pub(super) fn replace(
    command: &[OsString],
    plan: &Plan,
    values: &BTreeMap<Id, SecretValue>,
) -> Failure {
    let (name, arguments) = command
        .split_first()
        .expect("the parser asks for a command");
    let mut command = Command::new(name);
    command.args(arguments).env_clear();
    for variable in plan.variables() {
        match text_of(&variable.value, values) {
            Ok(value) => command.env(&variable.name, value),
            Err(failure) => return failure,
        };
    }
    // From here on a crash is the command's own affair.
    process::restore_core_limit();
    start_failure(name, &command.exec())
}

fn text_of(value: &Value, values: &BTreeMap<Id, SecretValue>) -> Result<OsString, Failure> {
    let id = match value {
        Value::Literal(bytes) => return Ok(OsString::from_vec(bytes.to_vec())),
        Value::Reference(id) => id,
        Value::BadReference(_) => unreachable!("a plan with a bad reference is refused"),
    };
    let value = values.get(id).expect("every reference was resolved");
    if value.expose().contains(&0) {
        return Err(Failure::error(
            format_args!(
                "{id} holds a zero byte, which no environment variable can, so nothing was started"
            ),
            format_args!("Let the program read it with `keyway get {id} --value`"),
        ));
    }
    Ok(OsStr::from_bytes(value.expose()).to_owned())
}

/// The exit codes of `env`, `timeout` and shells for a command that was not started.
const CANNOT_EXECUTE: Exit = Exit::Child(126);
const NOT_FOUND: Exit = Exit::Child(127);

fn start_failure(name: &OsStr, error: &io::Error) -> Failure {
    match Errno::from_io_error(error) {
        // A script whose interpreter is absent gives the same error.
        Some(Errno::NOENT) if is_file(name) => Failure::new(
            CANNOT_EXECUTE,
            "the interpreter of the command does not exist",
            "Check the first line of the file behind its `#!`",
        ),
        Some(Errno::NOENT) => Failure::new(
            NOT_FOUND,
            "there is no such command",
            "Check its name, the first word behind `--`, and PATH",
        ),
        Some(Errno::ACCESS) => Failure::new(
            CANNOT_EXECUTE,
            "the command may not be executed",
            "Check the permissions of its file, with `chmod +x` for one",
        ),
        Some(Errno::TOOBIG) => Failure::new(
            CANNOT_EXECUTE,
            "the command cannot be started with so much in its arguments and environment",
            "Let the program read large secrets with `keyway get ID --value`",
        ),
        _ => Failure::new(
            CANNOT_EXECUTE,
            format_args!("the command cannot be started: {error}"),
            "Check that it is a program for this system",
        ),
    }
}

/// Whether the command names a file, rather than a word to be looked for in PATH.
fn is_file(name: &OsStr) -> bool {
    name.as_bytes().contains(&b'/') && Path::new(name).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_byte_cannot_be_in_an_environment() {
        let id: Id = "bin/key".parse().unwrap();
        let reference = Value::Reference(id.clone());
        let text = |value: &[u8]| {
            let values = BTreeMap::from([(id.clone(), SecretValue::from(value))]);
            text_of(&reference, &values).ok()
        };
        assert_eq!(text(b"a\0b"), None);
        assert_eq!(
            text(b"\xff=\n"),
            Some(OsString::from_vec(b"\xff=\n".to_vec()))
        );
    }
}
