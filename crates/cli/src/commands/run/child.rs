//! The child: its environment, how it is started, and how long we live with it.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use keyway_secrets::{Id, SecretValue};
use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgid, getpgrp};
use zeroize::Zeroize as _;

use super::plan::{Plan, Value};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::signals::Signals;
use crate::{output, process};

/// Where commands are looked for when the child has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/bin:/usr/bin";

/// The environment as `execve` takes it. Holds secrets, so it is wiped when dropped.
pub(super) struct Environment {
    entries: Vec<CString>,
    path: OsString,
}

impl Environment {
    /// The plan with its references replaced. `values` has a value for each of them.
    ///
    /// # Errors
    ///
    /// A secret holds a zero byte, which no environment can.
    pub(super) fn new(plan: &Plan, values: &BTreeMap<Id, SecretValue>) -> Result<Self, Failure> {
        let mut environment = Self {
            entries: Vec::with_capacity(plan.variables().len()),
            path: DEFAULT_PATH.into(),
        };
        for variable in plan.variables() {
            let value = match &variable.value {
                Value::Literal(bytes) => bytes.as_slice(),
                Value::Reference(id) => value_of(id, values)?,
                Value::BadReference(_) => unreachable!("a plan with a bad reference is refused"),
            };
            if variable.name == "PATH" {
                environment.path = OsString::from_vec(value.to_vec());
            }
            environment.entries.push(entry(&variable.name, value));
        }
        Ok(environment)
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        for entry in std::mem::take(&mut self.entries) {
            entry.into_bytes_with_nul().zeroize();
        }
    }
}

fn value_of<'a>(id: &Id, values: &'a BTreeMap<Id, SecretValue>) -> Result<&'a [u8], Failure> {
    let value = values.get(id).expect("every reference was resolved");
    if value.expose().contains(&0) {
        return Err(Failure::error(
            format_args!(
                "{id} holds a zero byte, which no environment variable can, so nothing was started"
            ),
            format_args!("Let the program read it with `keyway get {id} --value`"),
        ));
    }
    Ok(value.expose())
}

/// `NAME=value`, in one piece of memory from the start.
fn entry(name: &OsStr, value: &[u8]) -> CString {
    let name = name.as_bytes();
    let mut bytes = Vec::with_capacity(name.len() + value.len() + 2);
    bytes.extend_from_slice(name);
    bytes.push(b'=');
    bytes.extend_from_slice(value);
    bytes.push(0);
    CString::from_vec_with_nul(bytes).expect("names and values hold no zero byte")
}

/// Starts the command, passes signals on to it, and ends when it ends.
///
/// Signals are caught before the child exists, so none is lost. With a controlling terminal the child stays in our
/// process group: job control and Ctrl-C then treat us as one, and what a key sent to both is not sent again. Without
/// one it gets a group of its own, so that a signal to our group reaches it once, through us.
///
/// # Errors
///
/// The command cannot be started.
pub(super) fn run(command: &[OsString], environment: Environment) -> Result<Exit, Failure> {
    let own_group = File::open("/dev/tty").is_err();
    let mut signals = Signals::catch().map_err(|error| system_failure("catch signals", error))?;
    let child = spawn(command, &environment, own_group)?;
    drop(environment);
    process::restore_core_limit(child.as_raw());
    attend(child, &mut signals).map_err(|error| system_failure("wait for the command", error))
}

/// Tries each file that the command may mean, as a shell would.
fn spawn(command: &[OsString], environment: &Environment, own_group: bool) -> Result<Pid, Failure> {
    let (name, _) = command
        .split_first()
        .expect("the parser asks for a command");
    let arguments: Result<Vec<CString>, _> = command
        .iter()
        .map(|argument| CString::new(argument.as_bytes()))
        .collect();
    let arguments = arguments.expect("an argument of a process holds no zero byte");
    let mut outcome = Errno::ENOENT;
    for path in candidates(name, &environment.path) {
        match spawn_file(&path, &arguments, &environment.entries, own_group) {
            Ok(child) => return Ok(child),
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            // There may be another one further on that can be executed.
            Err(Errno::EACCES) => outcome = Errno::EACCES,
            Err(error) => {
                outcome = error;
                break;
            }
        }
    }
    Err(start_failure(name, outcome))
}

fn spawn_file(
    path: &Path,
    arguments: &[CString],
    environment: &[CString],
    own_group: bool,
) -> Result<Pid, Errno> {
    let mut attributes = PosixSpawnAttr::init()?;
    // Rust programs ignore SIGPIPE; the child is not to inherit that.
    let mut flags = PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF;
    attributes.set_sigdefault(&SigSet::from(Signal::SIGPIPE))?;
    if own_group {
        flags |= PosixSpawnFlags::POSIX_SPAWN_SETPGROUP;
        attributes.set_pgroup(Pid::from_raw(0))?;
    }
    attributes.set_flags(flags)?;
    let actions = PosixSpawnFileActions::init()?;
    posix_spawn(path, &actions, &attributes, arguments, environment)
}

/// The files that `name` may mean: itself when it has a slash, else that name in each directory of `path`.
fn candidates(name: &OsStr, path: &OsStr) -> Vec<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return vec![name.into()];
    }
    if name.is_empty() {
        return Vec::new();
    }
    // An empty directory in PATH means the current one.
    env::split_paths(path)
        .map(|directory| Path::new(".").join(directory).join(name))
        .collect()
}

fn start_failure(name: &OsStr, error: Errno) -> Failure {
    let name = name.display();
    match error {
        Errno::ENOENT => Failure::error(
            format_args!("there is no command {name}"),
            "Check its name and PATH",
        ),
        Errno::EACCES => Failure::error(
            format_args!("{name} may not be executed"),
            "Check its permissions, with `chmod +x` for one",
        ),
        Errno::ENOEXEC => Failure::error(
            format_args!("{name} is no program that this system can execute"),
            "If it is a script, give it a first line such as #!/bin/sh",
        ),
        error => Failure::error(
            format_args!("{name} cannot be started: {}", error.desc()),
            "Check the command, and how much it is given in arguments and environment",
        ),
    }
}

/// Passes signals on until the child has ended. Whatever else the kernel makes our child, as it does for process 1 of a
/// container, is reaped too.
fn attend(child: Pid, signals: &mut Signals) -> io::Result<Exit> {
    loop {
        let arrived = signals.next()?;
        if arrived.signal == Signal::SIGCHLD {
            if let Some(exit) = reap(child)? {
                return Ok(exit);
            }
            continue;
        }
        let already_there = arrived.by_terminal && getpgid(Some(child)) == Ok(getpgrp());
        if !already_there {
            forward(child, arrived.signal)?;
        }
    }
}

/// Passes a signal on. The child is not reaped yet, so its id is its own even when it has just ended.
fn forward(child: Pid, signal: Signal) -> io::Result<()> {
    match kill(child, signal) {
        Err(Errno::EPERM) => {
            output::note(format_args!(
                "{signal} does not reach the command: it runs as another user"
            ));
            Ok(())
        }
        other => Ok(other?),
    }
}

/// How the child ended, if it has. Takes all children that have ended: one signal may stand for several.
fn reap(child: Pid) -> io::Result<Option<Exit>> {
    let mut exit = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => {
                exit = Some(Exit::Child(u8::try_from(code).unwrap_or(u8::MAX)));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                exit = Some(Exit::Child(128 + signal as u8));
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(exit),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn system_failure(what: &str, error: io::Error) -> Failure {
    Failure::error(
        format_args!("the system does not let us {what}: {error}"),
        "Check the limits of this process, such as its number of open files",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_looked_for_as_a_shell_does() {
        let check = |name: &str, path: &str, expected: &[&str]| {
            let found = candidates(name.as_ref(), path.as_ref());
            assert_eq!(
                found,
                expected.iter().map(PathBuf::from).collect::<Vec<_>>()
            );
        };
        check("./x", "/bin", &["./x"]);
        check("a/x", "/bin", &["a/x"]);
        check("x", "/usr/bin:/bin", &["/usr/bin/x", "/bin/x"]);
        check("x", ":/bin", &["./x", "/bin/x"]);
        check("", "/bin", &[]);
    }

    #[test]
    fn a_zero_byte_cannot_be_in_an_environment() {
        let plan = Plan::new([("A".into(), "se://bin/key".into())], &[]).unwrap();
        let id: Id = "bin/key".parse().unwrap();
        let values = |value: &[u8]| BTreeMap::from([(id.clone(), SecretValue::from(value))]);
        assert!(Environment::new(&plan, &values(b"a\0b")).is_err());
        let environment = Environment::new(&plan, &values(b"\xff=")).unwrap();
        assert_eq!(environment.entries, [CString::new(b"A=\xff=").unwrap()]);
    }
}
