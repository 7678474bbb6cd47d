//! Which files are rewritten, and what of them stays.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use super::*;
use crate::commands::import::source::{MAX_FILE_LEN, Source};

fn refusal(path: &Path) -> String {
    match Source::open(path, false) {
        Ok(_) => panic!("{} is accepted", path.display()),
        Err(failure) => failure.to_string(),
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn mode_and_directory_stay_as_they_are() {
    let project = Project::new("A_TOKEN=x\n");
    let file = project.path("shop/.env");
    for mode in [0o600, 0o640, 0o644, 0o400] {
        fs::write(&file, "A_TOKEN=x\n")
            .or_else(|_| fs::remove_file(&file).and_then(|()| fs::write(&file, "A_TOKEN=x\n")))
            .unwrap();
        set_mode(&file, mode);
        let vault = MemoryVault::default();
        apply_only(&project.batch(&vault), &vault).unwrap();
        assert_eq!(file.metadata().unwrap().mode() & 0o7777, mode);
        assert_eq!(project.env(), "A_TOKEN=se://shop/a-token\n");
        assert_eq!(names(&project.path("shop")), [".env", ".git"]);
        set_mode(&file, 0o600);
    }
}

#[test]
fn group_and_extended_attributes_stay_as_they_are() {
    let project = Project::new("A_TOKEN=x\n");
    let file = project.path("shop/.env");
    if keyway_test_support::require::has_root() {
        std::os::unix::fs::chown(&file, None, Some(12)).unwrap();
    }
    let group = file.metadata().unwrap().gid();
    let flags = rustix::fs::XattrFlags::empty();
    let has_attributes = rustix::fs::setxattr(&file, "user.keyway.test", b"kept", flags).is_ok();
    let vault = MemoryVault::default();
    apply_only(&project.batch(&vault), &vault).unwrap();
    assert_eq!(file.metadata().unwrap().gid(), group);
    if keyway_test_support::require::has("extended attributes of users", has_attributes) {
        let mut value = [0; 16];
        let n = rustix::fs::getxattr(&file, "user.keyway.test", &mut value).unwrap();
        assert_eq!(&value[..n], b"kept");
    }
}

#[test]
fn a_link_is_followed_and_stays_a_link() {
    let project = Project::new("");
    project.write("real.env", "A_TOKEN=x\n");
    let link = project.path("shop/.env");
    fs::remove_file(&link).unwrap();
    symlink("../real.env", &link).unwrap();
    let vault = MemoryVault::default();
    let batch = project.batch(&vault);
    assert!(batch.files[0].source.is_link);
    apply_only(&batch, &vault).unwrap();
    assert!(link.is_symlink());
    let text = fs::read_to_string(project.path("real.env")).unwrap();
    assert!(text.starts_with("A_TOKEN=se://"), "{text}");
}

#[test]
fn a_file_with_several_names_is_refused_without_an_option() {
    let project = Project::new("A_TOKEN=x\n");
    let (file, other) = (project.path("shop/.env"), project.path("other"));
    fs::hard_link(&file, &other).unwrap();
    let refusal = refusal(&file);
    assert!(refusal.contains("has 2 names"), "{refusal}");
    let source = Source::open(&file, true).unwrap();
    source.replace(b"new").unwrap();
    assert_eq!(project.env(), "new");
    assert_eq!(fs::read_to_string(other).unwrap(), "A_TOKEN=x\n");
}

#[test]
fn a_file_of_another_user_is_refused() {
    if !keyway_test_support::require::has_root() {
        return;
    }
    let project = Project::new("A_TOKEN=x\n");
    let file = project.path("shop/.env");
    std::os::unix::fs::chown(&file, Some(12_345), None).unwrap();
    let refusal = refusal(&file);
    assert!(refusal.contains("belongs to the uid 12345"), "{refusal}");
}

#[test]
fn only_regular_files_of_some_size_are_read() {
    let project = Project::new("");
    let fifo = project.path("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    for path in [&fifo, &project.path("shop"), Path::new("/dev/null")] {
        let refusal = refusal(path);
        assert!(refusal.contains("is not a regular file"), "{refusal}");
    }
    project.write(
        "large",
        &"x".repeat(usize::try_from(MAX_FILE_LEN).unwrap() + 1),
    );
    let large = refusal(&project.path("large"));
    assert!(large.contains("more than the limit"), "{large}");
    let absent = refusal(&project.path("not-a-real-token"));
    assert!(!absent.contains("real"), "{absent}");
}

#[test]
fn a_file_that_was_changed_since_it_was_read_stays_as_it_is() {
    let changes: [fn(&Path); 4] = [
        |file| fs::write(file, "A_TOKEN=y\n").unwrap(),
        |file| set_mode(file, 0o604),
        |file| {
            fs::write(file.with_extension("new"), "A_TOKEN=x\n").unwrap();
            fs::rename(file.with_extension("new"), file).unwrap();
        },
        |file| {
            fs::rename(file, file.with_extension("old")).unwrap();
            symlink(file.with_extension("old"), file).unwrap();
        },
    ];
    for change in changes {
        let project = Project::new("A_TOKEN=x\n");
        let (vault, file) = (MemoryVault::default(), project.path("shop/.env"));
        let batch = project.batch(&vault);
        change(&file);
        let text = project.env();
        let failure = apply_only(&batch, &vault).unwrap_err().to_string();
        assert!(
            failure.contains("changed in the meantime") || failure.contains("cannot be read"),
            "{failure}"
        );
        assert_eq!(project.env(), text);
        assert_eq!(vault.value("shop/a-token"), None);
        batch.files[0].source.replace(b"new").unwrap_err();
        assert_eq!(project.env(), text);
        assert!(
            !names(&project.path("shop"))
                .iter()
                .any(|name| name.ends_with(".tmp"))
        );
    }
}

#[test]
fn a_temporary_file_of_another_import_is_not_touched() {
    let project = Project::new("A_TOKEN=x\n");
    let temporary = project.path("shop/..env.keyway.tmp");
    let other = fs::File::create(&temporary).unwrap();
    rustix::fs::flock(&other, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let source = Source::open(&project.path("shop/.env"), false).unwrap();
    source.replace(b"new").unwrap_err();
    assert!(temporary.exists());
    drop(other);
    // Left behind by one that was killed.
    fs::write(&temporary, "a longer text than the new one").unwrap();
    source.replace(b"new").unwrap();
    assert_eq!(project.env(), "new");
    assert!(!temporary.exists());
}

#[test]
fn a_link_in_place_of_the_temporary_file_is_not_followed() {
    let project = Project::new("A_TOKEN=x\n");
    project.write("victim", "kept");
    symlink("../victim", project.path("shop/..env.keyway.tmp")).unwrap();
    Source::open(&project.path("shop/.env"), false)
        .unwrap()
        .replace(b"new")
        .unwrap_err();
    assert_eq!(fs::read_to_string(project.path("victim")).unwrap(), "kept");
    assert_eq!(project.env(), "A_TOKEN=x\n");
}

#[test]
fn a_backup_is_private_and_never_overwritten() {
    let project = Project::new("A_TOKEN=x\n");
    set_mode(&project.path("shop/.env"), 0o644);
    let source = Source::open(&project.path("shop/.env"), false).unwrap();
    for name in [".env.bak", ".env.bak.2"] {
        let backup = source.back_up().unwrap();
        assert_eq!(backup.file_name().unwrap(), name);
        assert_eq!(fs::read_to_string(&backup).unwrap(), "A_TOKEN=x\n");
        assert_eq!(backup.metadata().unwrap().mode() & 0o777, 0o600);
    }
}
