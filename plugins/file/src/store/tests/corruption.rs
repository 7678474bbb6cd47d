//! A damaged store is an error that names the file: never an empty store, never a wrong value.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;

/// A change to the content of a file.
#[derive(Clone, Debug)]
enum Damage {
    Flip { position: usize, bits: u8 },
    Truncate { position: usize },
    Insert { position: usize, byte: u8 },
    Empty,
}

impl Damage {
    fn apply(&self, content: &mut Vec<u8>) {
        match *self {
            Self::Flip { position, bits } => {
                let position = position % content.len();
                content[position] ^= bits;
            }
            Self::Truncate { position } => content.truncate(position % content.len()),
            Self::Insert { position, byte } => content.insert(position % content.len(), byte),
            Self::Empty => content.clear(),
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => (any::<usize>(), 1_u8..).prop_map(|(position, bits)| Damage::Flip { position, bits }),
        2 => any::<usize>().prop_map(|position| Damage::Truncate { position }),
        2 => (any::<usize>(), any::<u8>()).prop_map(|(position, byte)| Damage::Insert { position, byte }),
        1 => Just(Damage::Empty),
    ]
}

/// Restores a file at the end of a case, also if it fails.
struct Restore<'a> {
    path: &'a Path,
    content: Vec<u8>,
}

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        fs::write(self.path, &self.content).unwrap();
    }
}

#[test]
fn every_damage_is_detected() {
    let fixture = Fixture::new();
    let store = fixture.store();
    set(&store, "db/password", "one");
    set(&store, "db/user", "two");
    let expected = get(&store, "**").unwrap();
    let mut files = fixture.value_files();
    files.extend(["index.age", "identity.txt"].map(|name| fixture.path(name)));
    let cases = (0..files.len(), damage());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(400));
    let outcome = runner.run(&cases, |(file, damage)| {
        let path = &files[file];
        let before = Restore {
            path,
            content: fs::read(path).unwrap(),
        };
        let mut content = before.content.clone();
        damage.apply(&mut content);
        fs::write(path, &content).unwrap();
        match get(&fixture.store(), "**") {
            // A comment of the identity file may change, and a newline at its end.
            Ok(found) => prop_assert_eq!(&found, &expected),
            Err(error) => prop_assert!(
                error
                    .to_string()
                    .contains(&*fixture.dir().to_string_lossy()),
                "{}",
                error
            ),
        }
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn swapped_value_files_are_detected() {
    let fixture = Fixture::new();
    set(&fixture.store(), "a", "1");
    set(&fixture.store(), "b", "2");
    let files = fixture.value_files();
    let contents: Vec<_> = files.iter().map(|path| fs::read(path).unwrap()).collect();
    fs::write(&files[0], &contents[1]).unwrap();
    fs::write(&files[1], &contents[0]).unwrap();
    let error = get(&fixture.store(), "a").unwrap_err().to_string();
    assert!(
        error.contains("it is not the file that the index lists"),
        "{error}"
    );
}

#[test]
fn a_missing_file_is_named_and_not_created_again() {
    let fixture = Fixture::new();
    set(&fixture.store(), "a", "1");
    let value_file = fixture.value_files().remove(0);
    for path in [
        value_file,
        fixture.path("index.age"),
        fixture.path("identity.txt"),
    ] {
        let before = Restore {
            path: &path,
            content: fs::read(&path).unwrap(),
        };
        fs::remove_file(&path).unwrap();
        let read = get(&fixture.store(), "**").unwrap_err().to_string();
        assert!(read.contains(&*path.to_string_lossy()), "{read}");
        let is_value = path.parent() != Some(&fixture.dir());
        if !is_value {
            let written = fixture
                .store()
                .set(&id("b"), &"2".into())
                .unwrap_err()
                .to_string();
            assert_eq!(
                written, read,
                "a write must not create a new store over a damaged one"
            );
            assert!(!path.exists());
        }
        drop(before);
        restore_mode(&path);
    }
    assert_eq!(get(&fixture.store(), "**").unwrap(), pairs(&[("a", "1")]));
}

fn restore_mode(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn an_index_of_a_newer_format_is_refused() {
    let fixture = Fixture::new();
    set(&fixture.store(), "a", "1");
    overwrite_index(&fixture, br#"{"format":7,"more":[]}"#);
    let error = get(&fixture.store(), "**").unwrap_err();
    assert_eq!(
        message(&error),
        format!(
            "{} has format 7, and this version supports up to 1; use a newer one",
            fixture.path("index.age").display()
        )
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The index comes from a file, so its parser must accept any bytes.
    #[test]
    fn the_index_parser_never_panics(text in r#"(\{"format":1,"secrets":\{"[a-z/*]{0,4}":\[)?.{0,80}"#) {
        let _ = crate::store::index::Index::parse(Path::new("/index.age"), text.as_bytes());
    }
}
