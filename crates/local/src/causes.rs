//! [`with_causes`]: the text of an error with those of its causes.

use std::error::Error;

/// Formats an error and all its causes in one line, for logs and messages.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Many errors repeat their cause in their own text.
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
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the list")]
    struct Outer(#[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("cannot start: {0}")]
    struct Repeating(#[source] std::io::Error);

    #[test]
    fn causes_follow_in_order_and_are_not_repeated() {
        let full = || std::io::Error::other("disk full");
        assert_eq!(
            with_causes(&Outer(full())),
            "cannot read the list: disk full"
        );
        assert_eq!(with_causes(&Repeating(full())), "cannot start: disk full");
    }
}
