//! Files that other users can read or change are refused.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn created_files_are_accessible_to_their_owner_only() {
    let fixture = Fixture::new();
    set(&fixture.store(), "a", "1");
    assert_eq!(mode(&fixture.dir()), 0o700);
    assert_eq!(mode(&fixture.path("values")), 0o700);
    for name in ["identity.txt", "index.age", "store.lock"] {
        assert_eq!(mode(&fixture.path(name)), 0o600, "{name}");
    }
    assert!(fixture.value_files().iter().all(|path| mode(path) == 0o600));
}

#[test]
fn an_exposed_file_is_refused_with_the_chmod_command() {
    let fixture = Fixture::new();
    set(&fixture.store(), "a", "1");
    let value_file = fixture.value_files().remove(0);
    let files = [
        fixture.path("identity.txt"),
        fixture.path("index.age"),
        value_file,
    ];
    for path in &files {
        for exposed in [0o640, 0o604, 0o620, 0o602, 0o666] {
            chmod(path, exposed);
            let error = message(&get(&fixture.store(), "**").unwrap_err());
            assert!(
                error.contains(&format!("{} has mode 0{exposed:o}", path.display())),
                "{error}"
            );
            assert!(
                error.ends_with(&format!("run `chmod 600 {}`", path.display())),
                "{error}"
            );
        }
        chmod(path, 0o400);
        assert_eq!(get(&fixture.store(), "**").unwrap(), pairs(&[("a", "1")]));
        chmod(path, 0o600);
    }
}

#[test]
fn a_handle_with_a_loaded_index_detects_exposed_files() {
    let fixture = Fixture::new();
    let store = fixture.store();
    set(&store, "a", "1");
    assert_eq!(get(&store, "a").unwrap().len(), 1);
    for name in ["index.age", "identity.txt"] {
        chmod(&fixture.path(name), 0o644);
        assert!(
            matches!(
                get(&store, "a"),
                Err(StoreError::Exposed { mode: 0o644, .. })
            ),
            "{name}"
        );
        chmod(&fixture.path(name), 0o600);
        assert_eq!(get(&store, "a").unwrap().len(), 1);
    }
}

#[test]
fn a_directory_writable_by_other_users_is_refused() {
    let fixture = Fixture::new();
    set(&fixture.store(), "a", "1");
    chmod(&fixture.dir(), 0o770);
    let expected = format!(
        "{0} has mode 0770, so that other users can read and change it; run `chmod go-w {0}`",
        fixture.dir().display()
    );
    assert_eq!(message(&get(&fixture.store(), "**").unwrap_err()), expected);
    let written = fixture.store().set(&id("b"), &"2".into());
    assert_eq!(message(&written.unwrap_err()), expected);
    // Other users may list the directory: the default one also holds plugins.
    chmod(&fixture.dir(), 0o755);
    assert_eq!(get(&fixture.store(), "**").unwrap(), pairs(&[("a", "1")]));
}

#[test]
fn a_foreign_owner_is_refused() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root to change the owner of a file");
        return;
    }
    let fixture = Fixture::new();
    set(&fixture.store(), "a", "1");
    let path = fixture.path("index.age");
    std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
    let error = get(&fixture.store(), "**").unwrap_err();
    assert!(
        matches!(&error, StoreError::ForeignOwner { owner: 12345, .. }),
        "{error}"
    );
}

#[test]
fn a_directory_or_fifo_instead_of_a_file_is_refused_without_blocking() {
    let fixture = Fixture::new();
    set(&fixture.store(), "a", "1");
    let path = fixture.path("index.age");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let error = get(&fixture.store(), "**").unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::NotA {
                expected: "regular file",
                ..
            }
        ),
        "{error}"
    );
    std::fs::remove_dir(&path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
    let error = get(&fixture.store(), "**").unwrap_err();
    assert!(matches!(error, StoreError::NotA { .. }), "{error}");
}

#[test]
fn a_file_instead_of_the_directory_is_refused() {
    let fixture = Fixture::new();
    std::fs::write(fixture.dir(), "").unwrap();
    let error = get(&fixture.store(), "**").unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::NotA {
                expected: "directory",
                ..
            }
        ),
        "{error}"
    );
}
