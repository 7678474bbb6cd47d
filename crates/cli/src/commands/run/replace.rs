//! Executes the command with the secrets in its environment (`execve`).
//!
//! The kernel discards the memory of this process, and with it every copy of a secret, including those of libraries.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use keyway_secrets::Pattern;
use rustix::io::Errno;

use super::plan::{Plan, Variable, max_variable_len};
use super::supervise::Inherited;
use super::value::Part;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::reference::resolve::{Values, value};
use crate::{process, sys};

/// Returns the command with its environment. `values` must have a value for each reference of the plan. `files` are the names and
/// paths of `--file`, which replace variables of the plan.
///
/// # Errors
///
/// Returns a [`Failure`] if the name of the command is empty, or a value cannot be in an environment.
pub(super) fn command(
    command: &[OsString],
    plan: &Plan,
    values: &Values,
    files: &[(String, PathBuf)],
) -> Result<Command, Failure> {
    let (name, arguments) = command
        .split_first()
        .expect("the parser requires a command");
    if name.is_empty() {
        return Err(Failure::new(
            NOT_FOUND,
            "the command after `--` is empty",
            "Write its name; a variable that is not set becomes empty in quotes, as in \"$CMD\"",
        ));
    }
    let mut command = Command::new(name);
    command.args(arguments).env_clear();
    for variable in plan.variables() {
        command.env(&variable.name, environment_value(variable, values)?);
    }
    for (name, path) in files {
        command.env(name, path);
    }
    Ok(command)
}

/// Replaces this program by the command. Returns only on failure.
pub(super) fn replace(mut command: Command, inherited: Inherited) -> Failure {
    // The command inherits the user's limit on core dumps.
    process::restore_core_limit();
    let error = sys::exec(&mut command, inherited.blocked, inherited.ignored);
    match Errno::from_io_error(&error) {
        Some(Errno::TOOBIG) => too_big(&command),
        Some(Errno::NOENT) => not_found(&command),
        _ => start_failure(&error),
    }
}

/// Returns the value of a variable. `values` must have a value for each of its references.
fn environment_value(variable: &Variable, values: &Values) -> Result<OsString, Failure> {
    let mut bytes = Vec::new();
    for part in variable.parts() {
        match part {
            Part::Literal(literal) => bytes.extend_from_slice(literal),
            Part::Reference(reference) => {
                let value = value(values, reference);
                if value.contains(&0) {
                    return Err(zero_byte(&reference.pattern));
                }
                bytes.extend_from_slice(value);
            }
        }
    }
    Ok(OsString::from_vec(bytes))
}

fn zero_byte(pattern: &Pattern) -> Failure {
    Failure::error(
        format_args!(
            "{pattern} holds a zero byte, which an environment variable cannot hold, so nothing was started"
        ),
        format_args!("Let the program read it with `keyway get {pattern} --value`"),
    )
}

/// The exit codes of `env`, `timeout` and shells for a command that was not started.
const CANNOT_EXECUTE: Exit = Exit::Child(126);
const NOT_FOUND: Exit = Exit::Child(127);

/// The failure of a command that is not there, or whose file names an interpreter or a loader that is not there, which is the
/// same error of the system.
fn not_found(command: &Command) -> Failure {
    let mut start = [0; 4];
    let file = file(command).and_then(|path| File::open(path).ok());
    let read = file.map(|mut file| file.read(&mut start));
    let (what, advice) = match read {
        None => {
            return Failure::new(
                NOT_FOUND,
                "there is no such command",
                "Check its name, the first word after `--`, and PATH",
            );
        }
        Some(_) if start == *b"\x7fELF" => (
            "the loader of the command does not exist",
            "Install the C library that it was built for, or a build for this system",
        ),
        Some(_) => (
            "the interpreter of the command does not exist",
            "Check the first line of the file after its `#!`",
        ),
    };
    Failure::new(CANNOT_EXECUTE, what, advice)
}

/// Returns the file of a command: its path, or the first one of its name in the PATH of the command's environment.
fn file(command: &Command) -> Option<PathBuf> {
    let name = Path::new(command.get_program());
    if name.as_os_str().as_bytes().contains(&b'/') {
        return name.is_file().then(|| name.to_owned());
    }
    let path = variable(command, "PATH")?;
    let files = env::split_paths(path).map(|directory| directory.join(name));
    files.into_iter().find(|file| file.is_file())
}

fn variable<'a>(command: &'a Command, name: &str) -> Option<&'a OsStr> {
    command.get_envs().find(|(known, _)| *known == name)?.1
}

/// The failure of a command with more in its arguments and environment than the kernel takes.
fn too_big(command: &Command) -> Failure {
    let limit = max_variable_len();
    let variables = command.get_envs().filter_map(|(name, value)| {
        let len = name.len() + value?.len() + 2;
        (len > limit).then(|| {
            let name = name.display();
            format!(
                "the variable {name} has {len} bytes with its name, and the limit of one is {limit}"
            )
        })
    });
    let arguments = command.get_args().enumerate().filter_map(|(index, argument)| {
        let len = argument.len() + 1;
        (len > limit).then(|| {
            let position = index + 1;
            format!("argument {position} of the command has {len} bytes, and the limit of one is {limit}")
        })
    });
    let what = variables.chain(arguments).next().unwrap_or_else(|| {
        let variables = command.get_envs().map(|(name, value)| name.len() + value.map_or(0, OsStr::len) + 2);
        let arguments = command.get_args().map(|argument| argument.len() + 1);
        let total: usize = variables.chain(arguments).sum();
        format!("the arguments and the environment of the command have {total} bytes, and the limit is a quarter of the stack's (`ulimit -s`)")
    });
    Failure::new(
        CANNOT_EXECUTE,
        what,
        "Give the program a large secret as a file with `--file NAME=ID`",
    )
}

fn start_failure(error: &io::Error) -> Failure {
    let (what, advice) = match Errno::from_io_error(error) {
        Some(Errno::ACCESS) => (
            "the command may not be executed".to_owned(),
            "Check the permissions of its file, with `chmod +x` for one",
        ),
        _ => (
            format!("the command cannot be started: {error}"),
            "Check that it is a program for this system",
        ),
    };
    Failure::new(CANNOT_EXECUTE, what, advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyway_secrets::SecretValue;

    #[test]
    fn a_value_with_a_zero_byte_is_an_error() {
        let environment = [("A".into(), "<se://bin/key>".into())];
        let plan = Plan::new(environment, &[] as &[&Path], &[]).unwrap();
        let text = |value: &[u8]| {
            let values = Values::from([("bin/key".parse().unwrap(), SecretValue::from(value))]);
            environment_value(&plan.variables()[0], &values).ok()
        };
        assert_eq!(text(b"a\0b"), None);
        assert_eq!(
            text(b"\xff=\n"),
            Some(OsString::from_vec(b"<\xff=\n>".to_vec()))
        );
    }
}
