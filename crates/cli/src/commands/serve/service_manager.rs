//! The protocol of a service manager such as systemd: sockets that it has bound (`sd_listen_fds`), and notifications of the state of
//! the service (`sd_notify`).

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::time::Duration;

use keyway_runtime::{Activities, Activity};
use listenfd::ListenFd;
use rustix::time::{ClockId, clock_gettime};

use crate::failure::Failure;

/// How long the end of the daemon may take at most, with a reserve for a busy machine.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Returns the listening sockets that were passed to this process; none if it was not started by socket activation. Removes the
/// variables that describe them, and keeps the descriptors from plugins.
///
/// # Errors
///
/// Returns a [`Failure`] if a descriptor is not a Unix stream socket.
pub(super) fn inherited_sockets() -> Result<Vec<UnixListener>, Failure> {
    // Without a pid the variables may be those of a parent that did not remove them.
    if env::var_os("LISTEN_PID").is_none() {
        return Ok(Vec::new());
    }
    let mut sockets = ListenFd::from_env();
    let listeners = (0..sockets.len()).filter_map(|index| {
        let listener = sockets.take_unix_listener(index);
        listener.transpose()
    });
    listeners.collect::<Result<_, _>>().map_err(|error| {
        Failure::usage(
            format_args!("a socket of the service manager cannot be used: {error}"),
            "Give the socket unit only Unix stream sockets (`ListenStream=PATH`)",
        )
    })
}

/// Returns how often the service manager wants to hear from the daemon, if it watches it: twice within its limit.
pub(super) fn heartbeat_interval() -> Option<Duration> {
    interval(|name| env::var(name).ok(), std::process::id())
}

fn interval(variable: impl Fn(&str) -> Option<String>, own_pid: u32) -> Option<Duration> {
    let is_for_us = match variable("WATCHDOG_PID") {
        Some(pid) => pid.parse() == Ok(own_pid),
        None => true,
    };
    let limit: u64 = variable("WATCHDOG_USEC")
        .filter(|_| is_for_us)?
        .parse()
        .ok()?;
    (limit > 1).then(|| Duration::from_micros(limit / 2))
}

/// The daemon is alive.
pub(super) fn notify_heartbeat() {
    send("WATCHDOG=1");
}

/// The daemon stops; the service manager may wait for as long as plugins may take.
pub(super) fn notify_stopping() {
    let limit = STOP_LIMIT.as_micros();
    send(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={limit}"));
}

/// Reports what the daemon is doing. Calls `ready` when the daemon is ready. Never resolves.
pub(super) async fn follow(
    mut activities: Activities,
    ready: impl FnOnce(),
) -> std::convert::Infallible {
    let first = activities.next().await;
    ready();
    let mut former = None;
    let mut activity = first;
    loop {
        send(&message(former, activity));
        former = Some(activity);
        activity = activities.next().await;
    }
}

fn message(former: Option<Activity>, now: Activity) -> String {
    let state = match (former.map(|former| former.is_reloading), now.is_reloading) {
        (None | Some(true), false) => "READY=1\n".to_owned(),
        (None | Some(false), true) => {
            let time = clock_gettime(ClockId::Monotonic);
            let time = i128::from(time.tv_sec) * 1_000_000 + i128::from(time.tv_nsec / 1_000);
            format!("RELOADING=1\nMONOTONIC_USEC={time}\n")
        }
        (Some(true), true) | (Some(false), false) => String::new(),
    };
    format!("{state}STATUS={now}")
}

/// Sends `state` to the socket that `NOTIFY_SOCKET` names, if there is one.
fn send(state: &str) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&socket),
    };
    if let Err(error) = address.and_then(|address| send_to(&address, state)) {
        tracing::warn!(%error, state, "systemd notification failed");
    }
}

fn send_to(address: &SocketAddr, state: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    // A service manager that does not read must not block the daemon.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heartbeat_is_twice_as_frequent_as_the_watchdog_demands_and_for_this_process_only() {
        let interval = |limit: Option<&str>, pid: Option<&str>| {
            let variable = |name: &str| match name {
                "WATCHDOG_USEC" => limit.map(String::from),
                _ => pid.map(String::from),
            };
            interval(variable, 42)
        };
        let fifteen = Some(Duration::from_secs(15));
        assert_eq!(interval(Some("30000000"), Some("42")), fifteen);
        assert_eq!(interval(Some("30000000"), None), fifteen);
        for (limit, pid) in [
            (Some("30000000"), Some("41")),
            (Some("30000000"), Some("x")),
            (Some("0"), None),
            (Some("1"), None),
            (Some("-5"), None),
            (None, Some("42")),
        ] {
            assert_eq!(interval(limit, pid), None, "{limit:?} {pid:?}");
        }
    }
}
