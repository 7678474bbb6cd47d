use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use keyway_test_support::require;

use super::*;

/// A uid that no user of a test machine has.
const OTHER_UID: u32 = 54_321;

struct Files {
    _root: tempfile::TempDir,
    directory: PathBuf,
    file: PathBuf,
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("the mode");
}

fn files_with_modes(directory_mode: u32, file_mode: u32) -> Files {
    let root = tempfile::tempdir().expect("a temporary directory");
    let directory = root.path().join("grandparent/plugins");
    fs::create_dir_all(&directory).expect("directories");
    chmod(&root.path().join("grandparent"), 0o755);
    let file = directory.join("file");
    fs::write(&file, "").expect("a file");
    chmod(&file, file_mode);
    chmod(&directory, directory_mode);
    Files {
        _root: root,
        directory,
        file,
    }
}

fn message(path: &Path) -> String {
    check_owners(path).expect_err("refused").to_string()
}

#[test]
fn a_private_file_in_a_private_directory_is_trusted() {
    let files = files_with_modes(0o755, 0o755);
    check_owners(&files.file).expect("trusted");
    let opened = File::open(&files.file).expect("opened");
    check_opened(&opened, &files.file).expect("trusted");
}

#[test]
fn a_file_that_others_can_write_is_refused_with_the_mending_command() {
    for (mode, who) in [
        (0o757, "other users"),
        (0o775, "its group"),
        (0o777, "other users"),
    ] {
        let files = files_with_modes(0o755, mode);
        let message = message(&files.file);
        let path = files.file.display();
        assert_eq!(
            message,
            format!("{path} can be written by {who} (mode {mode:04o}): run `chmod go-w {path}`")
        );
    }
}

#[test]
fn every_path_that_others_can_write_is_named_at_once() {
    let files = files_with_modes(0o777, 0o757);
    let grandparent = files.directory.parent().expect("a parent");
    chmod(grandparent, 0o770);
    let message = message(&files.file);
    for path in [grandparent, &files.directory, &files.file] {
        let command = format!("run `chmod go-w {}`", path.display());
        assert!(message.contains(&command), "{path:?}: {message}");
    }
    // A sticky directory keeps others from exchanging the file.
    chmod(grandparent, 0o1777);
    chmod(&files.directory, 0o1777);
    chmod(&files.file, 0o755);
    check_owners(&files.file).expect("trusted");
}

#[test]
fn a_link_is_checked_by_its_target_and_by_its_own_path() {
    let target = files_with_modes(0o755, 0o757);
    let way = files_with_modes(0o777, 0o755);
    let link = way.directory.join("link");
    symlink(&target.file, &link).expect("a link");
    let message = message(&link);
    for path in [&target.file, &way.directory] {
        assert!(message.contains(&path.display().to_string()), "{message}");
    }
    chmod(&target.file, 0o755);
    chmod(&way.directory, 0o755);
    check_owners(&link).expect("trusted");
    let absent = check_owners(&way.directory.join("absent")).expect_err("refused");
    assert!(matches!(
        absent.iter().collect::<Vec<_>>()[..],
        [Offence::Unreadable { .. }]
    ));
}

#[test]
fn an_opened_file_is_checked_by_its_descriptor() {
    let files = files_with_modes(0o755, 0o757);
    let opened = File::open(&files.file).expect("opened");
    let other = files.directory.join("other");
    fs::write(&other, "").expect("a file");
    chmod(&other, 0o755);
    fs::rename(&other, &files.file).expect("the file is exchanged");
    check_owners(&files.file).expect("the new file is trusted");
    check_opened(&opened, &files.file).expect_err("the opened one is not");
}

/// Needs root in a user namespace that maps another uid, to give files away; the rule itself is tested below for every user.
#[test]
fn an_ancestor_or_link_of_another_user_is_refused() {
    let files = files_with_modes(0o755, 0o755);
    let grandparent = files.directory.parent().expect("a parent");
    if let Err(error) = std::os::unix::fs::lchown(grandparent, Some(OTHER_UID), None) {
        let _ = require::has(&format!("root, to give a file away: {error}"), false);
        return;
    }
    let message = message(&files.file);
    assert_eq!(
        message,
        format!(
            "{path} belongs to uid {OTHER_UID}, not to us (uid 0) or root: run `chown 0 {path}`",
            path = grandparent.display()
        )
    );
    std::os::unix::fs::lchown(grandparent, Some(0), None).expect("taken back");
    let link = files.directory.join("link");
    symlink(&files.file, &link).expect("a link");
    std::os::unix::fs::lchown(&link, Some(OTHER_UID), None).expect("given away");
    let offences = check_owners(&link).expect_err("refused").to_string();
    assert!(offences.contains("run `chown -h 0 "), "{offences}");
}

fn owner_offence(owner: u32, role: Role, uids: &KnownUids, root: u32) -> Option<Offence> {
    let file = Examined {
        owner,
        mode: 0o755,
        is_directory: true,
        role,
    };
    file.owner_offence(Path::new("/x"), uids, uids.is_ambiguous(root))
}

#[test]
fn owners_other_than_ours_and_root_are_refused_for_every_role() {
    let full = KnownUids::from_parts(1000, Some("0 0 4294967295"), Some("65534"));
    for role in [Role::Ancestor, Role::Directory, Role::Link, Role::Target] {
        for (owner, is_refused) in [(0, false), (1000, false), (1001, true), (65534, true)] {
            let offence = owner_offence(owner, role, &full, 0);
            assert_eq!(offence.is_some(), is_refused, "{owner} {role:?}");
        }
    }
    let message = owner_offence(1001, Role::Directory, &full, 0).map(|offence| offence.to_string());
    let expected = "/x belongs to uid 1001, not to us (uid 1000) or root: run `sudo chown 1000 /x`";
    assert_eq!(message.as_deref(), Some(expected));
}

#[test]
fn an_unmapped_owner_is_excepted_above_the_directory_and_only_where_root_is_unmapped() {
    let partial = KnownUids::from_parts(1000, Some("1000 1000 1"), Some("65534"));
    for (role, root, is_refused) in [
        (Role::Ancestor, 65534, false),
        (Role::Link, 65534, false),
        (Role::Directory, 65534, true),
        (Role::Target, 65534, true),
        (Role::Ancestor, 0, true),
        (Role::Link, 0, true),
    ] {
        let offence = owner_offence(65534, role, &partial, root);
        assert_eq!(offence.is_some(), is_refused, "{role:?}, root {root}");
    }
    // The overflow uid is not ours, even if the process appears to have it.
    let unmapped = KnownUids::from_parts(65534, Some(""), Some("65534"));
    assert!(owner_offence(65534, Role::Target, &unmapped, 0).is_some());
}
