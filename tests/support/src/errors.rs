//! Checks of the texts of errors.

use std::error::Error;

/// Checks that no error of a chain contains the text of its cause: printing the chain would repeat that text.
///
/// # Panics
///
/// If an error contains the text of its cause.
#[track_caller]
pub fn assert_causes_said_once(mut error: &dyn Error) {
    while let Some(source) = error.source() {
        let (text, cause) = (error.to_string(), source.to_string());
        assert!(!text.contains(&cause), "{text:?} contains {cause:?}");
        error = source;
    }
}
