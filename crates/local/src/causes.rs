//! [`with_causes`]: the text of an error with those of its causes.

use std::error::Error;

/// Formats an error and all its causes in one line, for logs and messages.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Errors of other crates may repeat the text of their cause.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use keyway_test_support::assert_causes_said_once;

    use super::*;
    use crate::file::{Offence, OpenError, PrivateDirectoryError};
    use crate::{EnvironmentError, ParseAddressError};

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the list")]
    struct Outer(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("cannot start: {0}")]
    struct Repeating(#[source] io::Error);

    #[test]
    fn causes_follow_in_order_and_are_not_repeated() {
        let full = || io::Error::other("disk full");
        assert_eq!(
            with_causes(&Outer(full())),
            "cannot read the list: disk full"
        );
        assert_eq!(with_causes(&Repeating(full())), "cannot start: disk full");
    }

    #[test]
    fn no_error_of_this_crate_contains_the_text_of_its_cause() {
        let source = || io::Error::from_raw_os_error(libc::EACCES);
        let path = || "/a".into();
        let open = OpenError::Io {
            path: path(),
            source: source(),
        };
        let create = PrivateDirectoryError::Create {
            path: path(),
            source: source(),
        };
        let unreadable = Offence::Unreadable {
            path: path(),
            source: source(),
        };
        let socket = EnvironmentError::from(ParseAddressError::Empty);
        let errors: [&dyn Error; 4] = [&open, &create, &unreadable, &socket];
        for error in errors {
            assert!(error.source().is_some(), "{error}");
            assert_causes_said_once(error);
        }
    }
}
