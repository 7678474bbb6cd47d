//! The daemon's log, on stderr.

use std::io;

use tracing_subscriber::EnvFilter;

use super::LogFormat;

/// Warnings, and what plugins write to their standard error.
const DEFAULT_FILTER: &str = "warn,keyway::plugin=info";

/// Sends the log to stderr; `RUST_LOG` says how much of it.
pub(super) fn install(format: LogFormat) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match format {
        LogFormat::Text => builder
            .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
            .init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
