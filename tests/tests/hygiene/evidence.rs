//! A search for the canary in all its forms.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use keyway_tests::canary::CANARY;

/// The canary as it is, as a list of numbers (the `Debug` of bytes), in hexadecimal, and in base64 at any position.
fn forms() -> Vec<String> {
    let bytes = CANARY.as_bytes();
    let numbers: Vec<String> = bytes.iter().map(ToString::to_string).collect();
    let hexadecimal: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![CANARY.to_owned(), numbers.join(", "), hexadecimal.concat()];
    for before in 0..3 {
        let encoded = STANDARD_NO_PAD.encode([&vec![0; before], bytes].concat());
        // Without the digits that depend on the bytes around it.
        forms.push(encoded[4..encoded.len() - 4].to_owned());
    }
    forms
}

/// Returns `true` if bytes contain the canary in any form.
pub(crate) fn contains_canary(bytes: &[u8]) -> bool {
    let contains = |form: &String| {
        bytes
            .windows(form.len())
            .any(|part| part == form.as_bytes())
    };
    forms().iter().any(contains)
}

/// Checks one place. `what` names it.
///
/// # Panics
///
/// Panics if it contains the canary.
#[track_caller]
pub(crate) fn assert_clean(what: &str, bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref();
    if contains_canary(bytes) {
        let text = String::from_utf8_lossy(bytes);
        let lines = text.lines().filter(|line| contains_canary(line.as_bytes()));
        let found: Vec<&str> = lines.take(3).collect();
        panic!("the canary is in {what}: {found:#?}");
    }
}

/// Checks every file below a directory.
///
/// # Panics
///
/// Panics as [`assert_clean`] does, and if there is a core file.
#[track_caller]
pub(crate) fn assert_clean_files(directory: &Path) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let (path, kind) = (entry.path(), entry.file_type().expect("a type"));
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(!name.starts_with("core"), "{} was written", path.display());
        if kind.is_dir() {
            assert_clean_files(&path);
        } else if kind.is_file() {
            assert_clean(
                &path.display().to_string(),
                fs::read(&path).expect("a file"),
            );
        }
    }
}

#[test]
fn the_canary_is_found_in_every_form() {
    for (number, form) in forms().into_iter().enumerate() {
        assert!(form.len() > 20, "{form}");
        assert!(contains_canary(format!("x{form}x").as_bytes()), "{number}");
    }
    for before in 0..6 {
        let text = format!("{}{CANARY}yy", "x".repeat(before));
        assert!(
            contains_canary(STANDARD_NO_PAD.encode(&text).as_bytes()),
            "{before}"
        );
        assert!(contains_canary(format!("{:?}", text.as_bytes()).as_bytes()));
    }
    assert!(!contains_canary(&CANARY.as_bytes()[1..]));
}
