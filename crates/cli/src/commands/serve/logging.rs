//! The daemon's log, on stderr.

use std::env::{self, VarError};
use std::io;

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::LogFormat;

/// Warnings, and what plugins write to their standard error.
const DEFAULT_FILTER: &str = "warn,keyway::plugin=info";

/// Sends the log to stderr; `RUST_LOG` says how much of it.
pub(super) fn install(format: LogFormat) {
    let (filter, complaint) = filter(env::var("RUST_LOG"));
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let layer = match format {
        LogFormat::Text => layer
            .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
            .boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .init();
    if let Some(complaint) = complaint {
        tracing::warn!("{complaint}");
    }
}

/// What is logged, and what is wrong with the variable: a log level is no reason not to start.
fn filter(variable: Result<String, VarError>) -> (Targets, Option<String>) {
    let asked = match variable {
        Ok(text) if text.trim().is_empty() => None,
        Ok(text) => Some(text.parse().map_err(|_| text)),
        Err(VarError::NotPresent) => None,
        Err(VarError::NotUnicode(text)) => Some(Err(text.to_string_lossy().into_owned())),
    };
    let default = || {
        DEFAULT_FILTER
            .parse()
            .expect("the default filter is well-formed")
    };
    match asked {
        Some(Ok(filter)) => (filter, None),
        None => (default(), None),
        Some(Err(text)) => (
            default(),
            Some(format!(
                "RUST_LOG={text:?} is not understood, {DEFAULT_FILTER:?} is used: write a level, or targets with levels such as `info,keyway_mux=debug`"
            )),
        ),
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    fn given(text: &str) -> (Targets, Option<String>) {
        filter(Ok(text.to_owned()))
    }

    #[test]
    fn without_the_variable_warnings_and_what_plugins_say_are_logged() {
        for (filter, complaint) in [filter(Err(VarError::NotPresent)), given(" ")] {
            assert!(filter.would_enable("keyway_runtime", &Level::WARN));
            assert!(!filter.would_enable("keyway_runtime", &Level::INFO));
            assert!(filter.would_enable("keyway::plugin", &Level::INFO));
            assert_eq!(complaint, None);
        }
    }

    #[test]
    fn the_variable_gives_levels_to_targets() {
        let (filter, complaint) = given("info,keyway_mux=debug");
        assert!(filter.would_enable("keyway_runtime", &Level::INFO));
        assert!(filter.would_enable("keyway_mux::driver", &Level::DEBUG));
        assert!(!filter.would_enable("keyway_runtime", &Level::DEBUG));
        assert_eq!(complaint, None);
    }

    #[test]
    fn a_variable_that_is_not_understood_is_named_and_the_default_stays() {
        let (filter, complaint) = given("keyway=loud");
        assert!(filter.would_enable("keyway::plugin", &Level::INFO));
        assert!(!filter.would_enable("keyway_runtime", &Level::INFO));
        insta::assert_snapshot!(
            complaint.expect("a complaint"),
            @r#"RUST_LOG="keyway=loud" is not understood, "warn,keyway::plugin=info" is used: write a level, or targets with levels such as `info,keyway_mux=debug`"#
        );
    }
}
