//! Becoming the command: its environment with the secrets in it, and `execve`.
//!
//! Nothing of this process is left afterwards, so no copy of a secret is either, whoever made it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use keyway_secrets::{Id, SecretValue};
use rustix::io::Errno;

use super::plan::{Plan, Value};
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

fn start_failure(name: &OsStr, error: &io::Error) -> Failure {
    let name = name.display();
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) => Failure::error(
            format_args!("there is no command {name}"),
            "Check its name and PATH",
        ),
        Some(Errno::ACCESS) => Failure::error(
            format_args!("{name} may not be executed"),
            "Check its permissions, with `chmod +x` for one",
        ),
        Some(Errno::TOOBIG) => Failure::error(
            format_args!("{name} cannot be started with so much in its arguments and environment"),
            "Let the program read large secrets with `keyway get ID --value`",
        ),
        _ => Failure::error(
            format_args!("{name} cannot be started: {error}"),
            "Check that it is a program for this system",
        ),
    }
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
