//! Checks of the texts of errors.

use std::error::Error;

/// Checks that no error of a chain contains the text of its cause, which whoever prints the chain would print twice.
///
/// # Panics
///
/// If one does.
#[track_caller]
pub fn assert_causes_said_once(mut error: &dyn Error) {
    while let Some(source) = error.source() {
        let (text, cause) = (error.to_string(), source.to_string());
        assert!(!text.contains(&cause), "{text:?} contains {cause:?}");
        error = source;
    }
}
