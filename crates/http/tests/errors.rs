//! The texts of errors.

use std::error::Error;
use std::io;
use std::time::Duration;

use keyway_http::{ExchangeError, ServeError, UpgradeError};
use keyway_test_support::assert_causes_said_once;

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

fn all_errors() -> Vec<Box<dyn Error>> {
    let limit = Duration::from_secs(1);
    let reason = "lone line feed";
    let exchange = || {
        [
            ExchangeError::Connect(reset().into()),
            ExchangeError::Body(reset().into()),
            ExchangeError::Io(reset()),
            ExchangeError::Closed,
            ExchangeError::Truncated,
            ExchangeError::Unframed,
            ExchangeError::Malformed { reason },
        ]
    };
    let upgrade = exchange().map(UpgradeError::<io::Empty>::Exchange);
    let serve = [
        ServeError::Io(reset()),
        ServeError::Malformed { reason },
        ServeError::Truncated,
        ServeError::PeerGone,
        ServeError::Response(reset().into()),
        ServeError::SlowHead { limit },
        ServeError::SlowReader { limit },
        ServeError::Evicted,
    ];
    let mut errors: Vec<Box<dyn Error>> = Vec::new();
    errors.extend(exchange().map(|error| Box::new(error) as Box<dyn Error>));
    errors.extend(upgrade.map(|error| Box::new(error) as Box<dyn Error>));
    errors.extend(serve.map(|error| Box::new(error) as Box<dyn Error>));
    errors
}

#[test]
fn no_error_of_a_chain_contains_the_text_of_its_cause() {
    for error in all_errors() {
        assert_causes_said_once(&*error);
    }
}

#[test]
fn texts_are_lower_case_without_a_full_stop_and_do_not_begin_with_a_pronoun() {
    for error in all_errors() {
        let text = error.to_string();
        let begins_with_a_word = text.starts_with(char::is_lowercase);
        assert!(begins_with_a_word && !text.ends_with('.'), "{text:?}");
        assert!(!text.starts_with("it "), "{text:?}");
    }
}
