//! Write a Keyway secrets plugin: implement one trait and call [`run`].
//!
//! A plugin is a program that provides the secrets of one store. The daemon launches it, or the user starts it as an external
//! plugin. This crate detects which, connects, registers, serves and stops. It is not a client: programs that need
//! secrets use `keyway-resolver` or the daemon's HTTP interface.
//!
//! - [`SecretsProvider`] is the trait to implement: the realm of the provider, and the secrets that match a query.
//! - [`run`] is the main function of a plugin; [`Plugin`] has its settings.
//! - [`ProviderError`] is a failure: a kind and the author's message. [`ResultExt`] converts any error into one.
//! - A provider that also stores secrets for clients implements [`SecretsProvider::set_secret`] and its companions.
//! - [`Description`] holds the facts that a provider registers beside its realm: whether a call may prompt the user, the
//! concurrency limit.
//! - [`Daemon`] reports to the daemon which secrets changed.
//! - [`AccessControl`] is the other kind of plugin: it decides which callers may read.
//!
//! A complete plugin:
//!
//! ```no_run
//! use keyway_plugin_sdk::{Envelope, Pattern, ProviderError, Query, SecretsProvider};
//!
//! struct Greeting;
//!
//! impl SecretsProvider for Greeting {
//!     fn pattern(&self) -> Pattern {
//!         "demo/**".parse().expect("a constant pattern")
//!     }
//!
//!     async fn get_secrets(&self, query: &Query) -> Result<Vec<Envelope>, ProviderError> {
//!         let id = "demo/greeting".parse()?;
//!         Ok(if query.matches(&id) { vec![Envelope::new(id, "hello")] } else { vec![] })
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     keyway_plugin_sdk::run(Greeting)
//! }
//! ```
//!
//! Start it with `cargo run` while `keyway serve` runs, or copy the executable into a plugin directory: the file's name
//! is the plugin's name. Then `keyway get demo/greeting` prints `hello`.
#![cfg_attr(
    feature = "test-kit",
    doc = "\nThe feature `test-kit` adds [`testing`]: an in-memory daemon that calls your provider in unit tests."
)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod access;
mod admission;
mod backoff;
mod blocking;
mod command;
mod connection;
mod daemon;
mod description;
mod dial;
mod error;
mod hijack;
mod inherited;
mod log;
mod path_below;
mod plugin;
mod process;
mod provider;
mod query;
mod registration;
mod service;
mod signals;
mod start;
#[cfg(feature = "test-kit")]
pub mod testing;
mod watchdog;
mod write;

pub use keyway_proto::registration::{InvalidDescription, InvalidPattern, InvalidRegistration};
pub use keyway_proto::write::{Expected, StoredVersion};
pub use keyway_rpc::Code;
pub use keyway_secrets::{Envelope, Id, ParseIdError, ParsePatternError, Pattern, SecretValue};
pub use tracing;

pub use access::{AccessControl, Authorization, Decision, Requester};
pub use backoff::Backoff;
pub use blocking::{MAX_BLOCKING_THREADS, blocking};
pub use command::{Command, CommandError, DEFAULT_MAX_OUTPUT, Output, command};
pub use connection::RegisterError;
pub use daemon::Daemon;
pub use description::Description;
pub use error::{ErrorKind, ProviderError, ResultExt};
pub use path_below::PathBelow;
pub use plugin::{DEFAULT_ANSWER_MEMORY, Plugin, run, run_access_control};
pub use provider::{Listed, SecretsProvider};
pub use query::Query;
pub use write::{NewVersion, Removal, Removed, Target, WriteError};
