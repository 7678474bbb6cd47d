//! The sockets of a daemon at all its addresses.

use std::ffi::{OsStr, OsString};
use std::os::unix::net::UnixListener;
use std::path::Path;

use keyway_local::{Address, KnownUids, Places, Rule, with_causes};

use super::socket::{ListenError, Reach, Socket};
use crate::config::Config;

/// Listens at every address of [`Config::listen`], or at the `inherited` sockets instead if there are any, and at the addresses of
/// [`Config::listen_also`] that are free. The reason why it does not listen at one of the latter is logged.
pub(crate) fn bind_all(
    config: &Config,
    inherited: Vec<UnixListener>,
) -> Result<Vec<Socket>, ListenError> {
    let places = Places::in_environment(|name| variable(&config.environment, name));
    let known = KnownUids::read();
    let inherited = inherited.into_iter().map(Socket::inherited);
    let mut sockets = inherited.collect::<Result<Vec<_>, _>>()?;
    if sockets.is_empty() {
        for address in &config.listen {
            sockets.push(Socket::bind(address, reach(address, &places))?);
        }
    }
    for address in &config.listen_also {
        if sockets.iter().any(|socket| socket.address() == address) {
            continue;
        }
        match Socket::bind(address, Reach::OwnUser) {
            Ok(socket) => sockets.push(socket),
            Err(error) => log_skipped(address, &error, &known),
        }
    }
    let is_reachable = has_other_users(config, &known);
    for file in sockets.iter().filter_map(Socket::file) {
        file.set_reachable(is_reachable);
    }
    Ok(sockets)
}

/// Returns `true` if `allow_uids` names users besides the daemon's own: the sockets must be reachable for them.
pub(crate) fn has_other_users(config: &Config, known: &KnownUids) -> bool {
    config.allow_uids.iter().any(|&uid| uid != known.own())
}

/// The default directory, and the place of Docker's socket, are for our own user alone.
fn reach(address: &Address, places: &Places) -> Reach {
    let Some(path) = address.as_path() else {
        return Reach::OwnUser;
    };
    let default = places.default_address();
    let default = default
        .as_ref()
        .and_then(Address::as_path)
        .and_then(Path::parent);
    let is_default = default.is_some() && path.parent() == default;
    if is_default || places.docker().as_ref() == Some(address) {
        Reach::OwnUser
    } else {
        Reach::AllowedUsers
    }
}

fn variable(environment: &[(OsString, OsString)], name: &str) -> Option<OsString> {
    environment
        .iter()
        .find(|(found, _)| found.as_os_str() == OsStr::new(name))
        .map(|(_, value)| value.clone())
}

/// Logs why the daemon does not listen at an address where it would have.
fn log_skipped(address: &Address, error: &ListenError, known: &KnownUids) {
    let Some(holder) = error.holder() else {
        tracing::warn!("{}", with_causes(error));
        return;
    };
    let setting = match address {
        Address::Abstract(_) => "abstract = false",
        Address::Path(_) => "docker_socket = false",
    };
    if Rule::Own.check(holder, known).is_ok() {
        tracing::warn!(
            %address,
            uid = holder.uid,
            pid = holder.raw_pid(),
            "not listening at {address}: {holder} does, and is left alone. Stop it, or set `{setting}`"
        );
    } else {
        // Clients of the reference implementation do not check whose socket it is.
        tracing::error!(
            %address,
            uid = holder.uid,
            pid = holder.raw_pid(),
            "another user listens at {address}, where clients look for this daemon: {holder}. Stop it, because clients that do not check whose socket it is would use it"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_besides_the_default_ones_are_for_other_users() {
        let environment = [
            ("XDG_RUNTIME_DIR".into(), "/run/user/7".into()),
            ("XDG_CACHE_HOME".into(), "/cache".into()),
        ];
        let places = Places::new(7, |name| variable(&environment, name), |_| false);
        let reach = |text: &str| reach(&text.parse().expect("an address"), &places);
        for default in [
            "/run/user/7/keyway/daemon.sock",
            "/run/user/7/keyway/other.sock",
            "/cache/docker-secrets-engine/engine.sock",
            "@name",
        ] {
            assert_eq!(reach(default), Reach::OwnUser, "{default}");
        }
        for other in ["/run/keyway/daemon.sock", "/run/user/7/other/daemon.sock"] {
            assert_eq!(reach(other), Reach::AllowedUsers, "{other}");
        }
    }

    #[test]
    fn the_own_uid_in_allow_uids_changes_no_mode() {
        let known = KnownUids::from_parts(1000, Some("0 0 4294967295"), None);
        let mut config = Config::new("@name".parse().expect("an address"), "/state");
        assert!(!has_other_users(&config, &known));
        config.allow_uids = [1000].into();
        assert!(!has_other_users(&config, &known));
        config.allow_uids = [0, 1000].into();
        assert!(has_other_users(&config, &known));
    }

    #[tokio::test]
    async fn a_taken_additional_address_is_skipped() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let taken = root.path().join("also/engine.sock");
        std::fs::create_dir(taken.parent().expect("a directory")).expect("made");
        let _other = UnixListener::bind(&taken).expect("listening");
        let path = root.path().join("daemon.sock");
        let mut config = Config::new(path.clone().into(), root.path());
        config.listen_also = vec![taken.clone().into(), root.path().join("free.sock").into()];
        let sockets = bind_all(&config, Vec::new()).expect("bound");
        let addresses: Vec<_> = sockets.iter().map(|socket| socket.address()).collect();
        assert_eq!(
            addresses,
            [&Address::from(path), &root.path().join("free.sock").into()]
        );
        drop(sockets);
        assert!(taken.exists() && !root.path().join("free.sock").exists());
    }
}
