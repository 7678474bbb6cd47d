//! Whether the user's systemd runs without a session.

use super::manager::output;

/// Returns `true` if systemd starts the user's services at boot and keeps them after logout; `None` if that is not known.
pub(super) fn is_lingering() -> Option<bool> {
    let uid = rustix::process::getuid().as_raw().to_string();
    let arguments = ["--no-pager", "show-user", "--property=Linger", "--value"];
    let output = output("loginctl", arguments.into_iter().chain([uid.as_str()])).ok()?;
    match String::from_utf8_lossy(&output.stdout).trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// Returns the sentence about a daemon that depends on a session; `None` if that is not the case.
pub(super) fn note(is_lingering: Option<bool>) -> Option<&'static str> {
    match is_lingering {
        Some(true) => None,
        Some(false) => Some(
            "The daemon ends when you log out, and cron and boot find none: run `loginctl enable-linger` to change that.",
        ),
        None => Some(
            "Whether the daemon outlives your session is not known: `loginctl enable-linger` makes sure of it, for cron and boot.",
        ),
    }
}
