//! Keyway provider: environment variables that its configuration names.
//!
//! It is meant for secrets that are in the daemon's environment anyway, as in continuous integration and containers. It is not a
//! store: it serves the variables as they were when the plugin started.
//!
//! - [`Config`] maps ids to variables.
//! - [`EnvProvider`] serves their values.
//!
//! ```
//! use keyway_plugin_env::{Config, EnvProvider};
//!
//! let config = Config::parse("db/password=DB_PASSWORD")?;
//! let provider = EnvProvider::new(&config, |name| (name == "DB_PASSWORD").then(|| "not-a-real-password".into()));
//! # let _ = provider;
//! # Ok::<(), keyway_plugin_env::ConfigError>(())
//! ```
#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod config;
mod provider;
mod run;

pub use config::{Config, ConfigError, SECRETS_VARIABLE};
pub use provider::EnvProvider;
pub use run::run;
