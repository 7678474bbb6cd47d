//! Checks of the file store.

use std::env;
use std::path::Path;

use keyway_plugin_file::{PASSPHRASE_FILE_VARIABLE, Store, StoreConfig, StoreError};
use keyway_runtime::Config;

use super::finding::Finding;
use crate::builtin;
use crate::commands::service::ServiceStatus;
use crate::store::StoreOptions;

/// Runs the checks.
pub(super) fn check(config: Option<&Config>, service: Option<&ServiceStatus>) -> Vec<Finding> {
    let store = match StoreConfig::from_env(|name| env::var_os(name)) {
        Ok(config) => Store::new(config),
        Err(error) => return vec![failure("store", &error)],
    };
    if !store.dir().exists() {
        return vec![Finding::ok("store")];
    }
    vec![
        check_readable(&store, config),
        check_file_system(store.dir()),
        check_passphrase(store.dir(), config, service),
    ]
}

/// The store must open: its identity, its files, their owners and modes.
fn check_readable(store: &Store, config: Option<&Config>) -> Finding {
    const CHECK: &str = "store";
    let everything = "**".parse().expect("the pattern of all ids");
    match store.list(&everything) {
        Ok(_) => Finding::ok(CHECK),
        // The daemon has the passphrase, and this process does not.
        Err(StoreError::IdentityProtected { .. }) if config.is_some_and(has_passphrase) => {
            Finding::ok(CHECK)
        }
        Err(error) => failure(CHECK, &error),
    }
}

fn failure(check: &'static str, error: &StoreError) -> Finding {
    Finding::failure(check, &StoreOptions::default().failure(error))
}

/// Locks and renames of a network file system do not protect the store from a second writer.
fn check_file_system(dir: &Path) -> Finding {
    const CHECK: &str = "file system of the store";
    let kind = rustix::fs::statfs(dir).ok();
    match kind.and_then(|kind| network_file_system(kind.f_type)) {
        None => Finding::ok(CHECK),
        Some(name) => Finding::wrong(
            CHECK,
            format_args!(
                "the store in {} is on {name}, where two machines can overwrite each other's secrets",
                dir.display()
            ),
            "Name a local directory in KEYWAY_FILE_STORE, and move the store there",
        ),
    }
}

/// Returns the name of a file system on another machine, by the constants of statfs(2).
fn network_file_system(magic: i64) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0x517B | 0xFE53_4D42 | 0xFF53_4D42 => "SMB",
        0x0102_1997 => "9p",
        0x00C3_6400 => "Ceph",
        0x5346_414F => "AFS",
        0x7375_7245 => "Coda",
        0x0BD0_0BD0 => "Lustre",
        _ => return None,
    })
}

/// A service does not have the variables of a shell.
fn check_passphrase(
    dir: &Path,
    config: Option<&Config>,
    service: Option<&ServiceStatus>,
) -> Finding {
    const CHECK: &str = "passphrase";
    let is_protected = dir.join("identity.age").exists() && !dir.join("identity.txt").exists();
    let is_service = service.is_some_and(|service| service.is_installed());
    if !is_protected || !is_service || config.is_none_or(has_passphrase) {
        return Finding::ok(CHECK);
    }
    Finding::wrong(
        CHECK,
        format_args!(
            "the store has a passphrase, and the service of systemd does not know {PASSPHRASE_FILE_VARIABLE}"
        ),
        format_args!(
            "Set `env = {{ {PASSPHRASE_FILE_VARIABLE} = \"FILE\" }}` in `[plugins.file]` of the configuration"
        ),
    )
}

/// Returns `true` if the configuration names the passphrase file of the plugin `file`.
fn has_passphrase(config: &Config) -> bool {
    let plugins = config.plugins.iter();
    let mut of_file = plugins.filter(|(name, _)| name.as_str() == builtin::NAME);
    of_file.any(|(_, plugin)| plugin.env.contains_key(PASSPHRASE_FILE_VARIABLE))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn file_systems_of_other_machines_are_known() {
        assert_eq!(network_file_system(0x6969), Some("NFS"));
        assert_eq!(network_file_system(0xFF53_4D42), Some("SMB"));
        // ext4 and tmpfs.
        assert_eq!(network_file_system(0xEF53), None);
        assert_eq!(network_file_system(0x0102_1994), None);
        assert_eq!(check_file_system(Path::new("/")).level(), Level::Ok);
    }
}
