//! Checks of the running daemon.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use keyway_proto::keyway::v1::StatusResponse;
use keyway_resolver::ResolveError;
use rustix::process::Pid;

use super::finding::{Finding, Level, or_ok};
use super::probe::{Examined, Probe};
use crate::commands::service::ServiceStatus;
use crate::daemon;
use crate::globals::Globals;
use crate::inventory::{Plugin, Status};

/// Runs the checks.
pub(super) fn check(
    globals: &Globals,
    daemon: &Examined,
    service: Option<&ServiceStatus>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let namespace = check_pid_namespace(&daemon.probes);
    let is_denied = matches!(daemon.status, Err(ResolveError::Denied { .. }));
    // The daemon denies its status to other namespaces, and does not know which of both is in the container.
    if !(is_denied && namespace.level() == Level::Wrong) {
        findings.push(check_running(globals, &daemon.status, service));
    }
    findings.push(namespace);
    findings.push(check_one_daemon(&daemon.probes));
    findings.extend(check_stale_sockets(&daemon.probes));
    if let Ok(status) = &daemon.status {
        findings.extend(check_socket_files(status));
        findings.push(check_program(status));
        findings.push(check_version(status));
        findings.push(check_user_namespace(status));
        findings.extend(check_plugins(&daemon.plugins));
    }
    findings
}

/// A daemon of this user must answer.
fn check_running(
    globals: &Globals,
    status: &Result<StatusResponse, ResolveError>,
    service: Option<&ServiceStatus>,
) -> Finding {
    const CHECK: &str = "daemon";
    let failure = match status {
        Ok(_) => return Finding::ok(CHECK),
        // With socket activation the listener is systemd.
        Err(ResolveError::Unresponsive { pid }) => {
            let of_service = service.and_then(|service| service.pid);
            daemon::unresponsive(of_service.or(*pid))
        }
        Err(ResolveError::NotRunning(error)) => daemon::not_running(error),
        Err(ResolveError::Denied { message }) => {
            let (why, advice) = daemon::split_advice(
                message,
                "Run the command as the user of the daemon, outside of containers",
            );
            return Finding::wrong(
                CHECK,
                format_args!("the daemon does not report its status: {why}"),
                advice.trim_end_matches('.'),
            );
        }
        Err(error) => {
            return Finding::wrong(
                CHECK,
                format_args!("the daemon does not report its status: {error}"),
                "Compare it with this program by `keyway version`; its log may say why",
            );
        }
    };
    Finding::failure(CHECK, &daemon::without_given_address(globals, failure))
}

/// All addresses must lead to one daemon.
fn check_one_daemon(probes: &[Probe]) -> Finding {
    const CHECK: &str = "one daemon";
    let mut daemons = BTreeMap::new();
    for probe in probes {
        if let Some(pid) = probe.daemon_pid {
            daemons.entry(pid).or_insert(&probe.address);
        }
    }
    if daemons.len() < 2 {
        return Finding::ok(CHECK);
    }
    let places: Vec<_> = daemons
        .iter()
        .map(|(pid, address)| format!("process {pid} at {address}"))
        .collect();
    Finding::wrong(
        CHECK,
        format_args!("several daemons run: {}", places.join(", and ")),
        "Stop all but one with `keyway stop --socket ADDR`",
    )
}

/// A socket file at which no process listens makes other programs than this one fail.
fn check_stale_sockets(probes: &[Probe]) -> Vec<Finding> {
    const CHECK: &str = "stale sockets";
    let stale = probes.iter().filter_map(|probe| {
        let path = probe.address.as_path()?;
        let error = probe.listener.as_ref().err()?;
        let is_stale = error.kind() == io::ErrorKind::ConnectionRefused && is_socket(path);
        is_stale.then(|| {
            Finding::wrong(
                CHECK,
                format_args!("no process listens at {} any more", path.display()),
                "The next daemon that listens there replaces the file; or remove it",
            )
        })
    });
    or_ok(CHECK, stale.collect())
}

/// The socket files that the daemon has made must be there.
fn check_socket_files(status: &StatusResponse) -> Vec<Finding> {
    const CHECK: &str = "socket files";
    let paths = status
        .addresses
        .iter()
        .filter(|text| !text.starts_with('@'));
    let missing = paths
        .filter(|path| !is_socket(Path::new(path)))
        .map(|path| {
            Finding::wrong(
                CHECK,
                format_args!("the daemon listens at {path}, and the file is gone"),
                "Restart the daemon; programs that look there do not find it",
            )
        });
    or_ok(CHECK, missing.collect())
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// The daemon must run the program that is in its file.
fn check_program(status: &StatusResponse) -> Finding {
    const CHECK: &str = "program";
    if !status.is_executable_replaced() {
        return Finding::ok(CHECK);
    }
    Finding::wrong(
        CHECK,
        format_args!(
            "{} was replaced since the daemon started",
            status.executable()
        ),
        "Run the new program with `keyway stop`, then start the daemon again",
    )
}

/// The daemon should have the version of this program.
fn check_version(status: &StatusResponse) -> Finding {
    const CHECK: &str = "version";
    let own = concat!("v", env!("CARGO_PKG_VERSION"));
    if status.version() == own {
        return Finding::ok(CHECK);
    }
    Finding::note(
        CHECK,
        format_args!("this program is {own}, the daemon is {}", status.version()),
        "Restart the daemon after an update, or call the program of its version",
    )
}

/// In another user namespace the daemon cannot read the executables of its callers.
fn check_user_namespace(status: &StatusResponse) -> Finding {
    const CHECK: &str = "user namespace";
    let map = |process: &str| fs::read_to_string(format!("/proc/{process}/uid_map")).ok();
    let of_daemon = map(&status.pid().to_string());
    if of_daemon.is_none() || of_daemon == map("self") {
        return Finding::ok(CHECK);
    }
    Finding::wrong(
        CHECK,
        "the daemon runs in a user namespace of its own and cannot read the executables of its callers, on which the audit log and access-control modules rely",
        "Remove `PrivateUsers=` and what implies it from the service unit, or start the daemon outside of the sandbox",
    )
}

/// In another pid namespace the daemon does not know its callers.
fn check_pid_namespace(probes: &[Probe]) -> Finding {
    const CHECK: &str = "pid namespace";
    let own = pid_namespace("self");
    for listener in probes
        .iter()
        .filter_map(|probe| probe.listener.as_ref().ok())
    {
        let Some(pid) = listener.pid.map(Pid::as_raw_nonzero) else {
            return Finding::wrong(
                CHECK,
                "the daemon does not run in the pid namespace of this command, and so takes no management from it",
                "Run the command outside of the container, or start a daemon in it",
            );
        };
        let of_listener = pid_namespace(&pid.to_string());
        if of_listener.is_some() && own.is_some() && of_listener != own {
            return Finding::wrong(
                CHECK,
                format_args!(
                    "the daemon, process {pid}, runs in a pid namespace of its own and does not know which programs call"
                ),
                "Start it outside of the container",
            );
        }
    }
    Finding::ok(CHECK)
}

/// Returns the name of the pid namespace of a process, if it can be read.
fn pid_namespace(process: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{process}/ns/pid")).ok()
}

/// Plugins that should run must run.
fn check_plugins(plugins: &[Plugin]) -> Vec<Finding> {
    const CHECK: &str = "plugins";
    let findings = plugins.iter().filter_map(|plugin| {
        let Plugin { name, message, .. } = plugin;
        let advice = match plugin.status {
            Status::Untrusted => {
                format!("If you know that executable, run `keyway plugins trust {name}`")
            }
            Status::Absent => {
                "Install the plugin, or remove its name from the configuration".to_owned()
            }
            Status::Crashed | Status::RetriesExceeded | Status::Failed | Status::Refused => {
                format!("Correct that and run `keyway plugins reload`, or turn it off with `keyway plugins disable {name}`")
            }
            _ => return None,
        };
        let state = plugin.status.word();
        let what = match message.trim_end_matches('.') {
            "" => format!("{name} is {state}"),
            message => format!("{name} is {state}: {message}"),
        };
        Some(Finding::wrong(CHECK, what, advice))
    });
    or_ok(CHECK, findings.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_that_does_not_run_is_named_with_its_last_words() {
        let plugin = |name: &str, status| Plugin {
            name: name.to_owned(),
            message: "ended with status 1: no token.".to_owned(),
            status,
            ..Plugin::default()
        };
        let found = check_plugins(&[
            plugin("file", Status::Running),
            plugin("vault", Status::Crashed),
            plugin("env", Status::Untrusted),
            plugin("off", Status::Disabled),
        ]);
        let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(
            lines[0].starts_with(
                "wrong  plugins: vault is crashed: ended with status 1: no token. Correct"
            ),
            "{}",
            lines[0]
        );
        assert!(
            lines[1].contains("keyway plugins trust env"),
            "{}",
            lines[1]
        );
    }

    #[test]
    fn a_socket_file_that_is_gone_is_found() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("daemon.sock");
        let address = path.display().to_string();
        let status = StatusResponse {
            addresses: vec!["@name".to_owned(), address.clone()],
            ..StatusResponse::default()
        };
        let found = check_socket_files(&status);
        assert_eq!(found.len(), 1);
        assert!(found[0].to_string().contains(&address), "{}", found[0]);
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(check_socket_files(&status), [Finding::ok("socket files")]);
    }

    #[test]
    fn another_version_of_the_daemon_is_a_note() {
        let status = |version: &str| StatusResponse {
            version: Some(version.to_owned()),
            ..StatusResponse::default()
        };
        let own = concat!("v", env!("CARGO_PKG_VERSION"));
        assert_eq!(check_version(&status(own)).level(), Level::Ok);
        assert_eq!(check_version(&status("v9.9.9")).level(), Level::Note);
    }

    #[test]
    fn a_daemon_in_another_user_namespace_is_found() {
        let status = |pid: u32| StatusResponse {
            pid: i32::try_from(pid).ok(),
            ..StatusResponse::default()
        };
        assert_eq!(
            check_user_namespace(&status(std::process::id())).level(),
            Level::Ok
        );
        let mut unshare = std::process::Command::new("unshare");
        let unshare = unshare.args(["--user", "--map-root-user"]);
        if !keyway_test_support::require::can_run("user namespaces", unshare.arg("true")) {
            return;
        }
        let mut child = std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "cat"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        keyway_test_support::wait_until("the namespace is found", || {
            check_user_namespace(&status(child.id())).level() == Level::Wrong
        });
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
