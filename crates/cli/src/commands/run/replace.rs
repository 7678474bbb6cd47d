//! Executes the command with the secrets in its environment (`execve`).
//!
//! The kernel discards the memory of this process, and with it every copy of a secret, including those of libraries.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;
use std::process::Command;

use keyway_secrets::{Id, SecretValue};
use rustix::io::Errno;

use super::plan::{Plan, Value};
use super::supervise::Inherited;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::{process, sys};

/// Replaces this program by the command. `values` must have a value for each reference of the plan.
///
/// Returns only on failure.
pub(super) fn replace(
    command: &[OsString],
    plan: &Plan,
    values: &BTreeMap<Id, SecretValue>,
    inherited: Inherited,
) -> Failure {
    let (name, arguments) = command
        .split_first()
        .expect("the parser requires a command");
    let mut command = Command::new(name);
    command.args(arguments).env_clear();
    for variable in plan.variables() {
        match environment_value(&variable.value, values) {
            Ok(value) => command.env(&variable.name, value),
            Err(failure) => return failure,
        };
    }
    // The command inherits the user's limit on core dumps.
    process::restore_core_limit();
    let error = sys::exec(&mut command, inherited.blocked, inherited.ignored);
    start_failure(name, &error)
}

fn environment_value(
    value: &Value,
    values: &BTreeMap<Id, SecretValue>,
) -> Result<OsString, Failure> {
    let id = match value {
        Value::Literal(bytes) => return Ok(OsString::from_vec(bytes.to_vec())),
        Value::Reference(id) => id,
        Value::InvalidReference(_) => unreachable!("a plan rejects invalid references"),
    };
    let value = values.get(id).expect("every reference was resolved");
    if value.expose().contains(&0) {
        return Err(Failure::error(
            format_args!(
                "{id} holds a zero byte, which an environment variable cannot hold, so nothing was started"
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
        // A missing interpreter of a script causes the same error.
        Some(Errno::NOENT) if is_file(name) => Failure::new(
            CANNOT_EXECUTE,
            "the interpreter of the command does not exist",
            "Check the first line of the file after its `#!`",
        ),
        Some(Errno::NOENT) => Failure::new(
            NOT_FOUND,
            "there is no such command",
            "Check its name, the first word after `--`, and PATH",
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

/// Returns `true` if the command is the path of a file rather than a name to look up in PATH.
fn is_file(name: &OsStr) -> bool {
    name.as_bytes().contains(&b'/') && Path::new(name).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_with_a_zero_byte_is_an_error() {
        let id: Id = "bin/key".parse().unwrap();
        let reference = Value::Reference(id.clone());
        let text = |value: &[u8]| {
            let values = BTreeMap::from([(id.clone(), SecretValue::from(value))]);
            environment_value(&reference, &values).ok()
        };
        assert_eq!(text(b"a\0b"), None);
        assert_eq!(
            text(b"\xff=\n"),
            Some(OsString::from_vec(b"\xff=\n".to_vec()))
        );
    }
}
