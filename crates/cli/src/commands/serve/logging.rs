//! The daemon's log, on stderr.

use std::env::{self, VarError};
use std::io;

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::LogFormat;

/// Warnings, and the standard error of plugins.
const DEFAULT_FILTER: &str = "warn,keyway::plugin=info";

/// Installs the logger on stderr, filtered by `RUST_LOG`.
pub(super) fn install(format: LogFormat) {
    let (filter, warning) = filter(env::var("RUST_LOG"));
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
    if let Some(warning) = warning {
        tracing::warn!("{warning}");
    }
}

/// Returns the filter, and a warning about an invalid variable, which does not prevent the start.
fn filter(variable: Result<String, VarError>) -> (Targets, Option<String>) {
    let parsed = match variable {
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
    match parsed {
        Some(Ok(filter)) => (filter, None),
        None => (default(), None),
        Some(Err(text)) => (
            default(),
            Some(format!(
                "RUST_LOG={text:?} is not a valid filter, so {DEFAULT_FILTER:?} is used; write a level, or targets with levels such as `info,keyway_mux=debug`"
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
    fn the_default_filter_allows_warnings_and_the_output_of_plugins() {
        for (filter, warning) in [filter(Err(VarError::NotPresent)), given(" ")] {
            assert!(filter.would_enable("keyway_runtime", &Level::WARN));
            assert!(!filter.would_enable("keyway_runtime", &Level::INFO));
            assert!(filter.would_enable("keyway::plugin", &Level::INFO));
            assert_eq!(warning, None);
        }
    }

    #[test]
    fn the_variable_sets_levels_per_target() {
        let (filter, warning) = given("info,keyway_mux=debug");
        assert!(filter.would_enable("keyway_runtime", &Level::INFO));
        assert!(filter.would_enable("keyway_mux::driver", &Level::DEBUG));
        assert!(!filter.would_enable("keyway_runtime", &Level::DEBUG));
        assert_eq!(warning, None);
    }

    #[test]
    fn an_invalid_variable_is_reported_and_the_default_applies() {
        let (filter, warning) = given("keyway=loud");
        assert!(filter.would_enable("keyway::plugin", &Level::INFO));
        assert!(!filter.would_enable("keyway_runtime", &Level::INFO));
        insta::assert_snapshot!(
            warning.expect("a warning"),
            @r#"RUST_LOG="keyway=loud" is not a valid filter, so "warn,keyway::plugin=info" is used; write a level, or targets with levels such as `info,keyway_mux=debug`"#
        );
    }
}
