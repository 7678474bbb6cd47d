//! The engine of the Keyway daemon: launches plugins, supervises them and resolves secrets.
//!
//! [`Daemon::bind`] takes the sockets that a [`Config`] names, and [`Daemon::run`] serves until it is told to stop. That is the
//! whole interface; programs and plugins talk to a daemon over its sockets. This crate knows neither the command line nor the
//! process environment, and nothing of what plugins do: it is no provider and no client.
//!
//! ```no_run
//! use keyway_runtime::{Config, Daemon};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = Config::new("/run/user/1000/demo/daemon.sock".parse()?, "/home/demo/.local/state/demo");
//! config.plugin_dirs = vec!["/opt/demo/plugins".into()];
//! Daemon::bind(config)?.run(std::future::pending()).await;
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! One task owns one plugin. A launched one is started by a thread that does nothing else, and is started again when it ends
//! unasked, after growing delays, until it is given up. Where a plugin comes from matters only until it has a connection; one
//! function makes a plugin of any byte stream. The plugin directories are watched: files that come, change or go there are
//! plugins that are started, restarted or stopped a moment later ([`Config::watch`]).
//!
//! A query is sent to every provider whose realm overlaps it, at the same time, each with its own deadline. What comes back is
//! cut to realm and query, stamped and merged in the order of names. A plugin that was never seen counts as owning everything
//! until it registers or fails once: a query that found nothing meanwhile waits for it, and is then `unavailable`, never
//! `not_found`. Access-control modules are asked first, and any failure of theirs is a no.
#![deny(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod api;
mod authority;
mod config;
mod daemon;
mod discovery;
mod health;
mod identity;
mod launch;
mod manager;
mod model;
mod plugin;
mod pulse;
mod record;
mod registry;
mod resolve;
mod server;
mod state;
mod sys;
mod task;
mod timer;
mod trust;
mod watch;

pub use authority::is_reserved;
pub use config::{
    AuditConfig, AuditFailure, BundledPlugin, Config, ConfigChoice, ConfigError, ConfigSource,
    ExternalPlugins, ListedSetting, PluginConfig, Variables, VersionInfo,
};
pub use daemon::{BindError, Daemon};
pub use discovery::DiscoveryProblem;
pub use launch::{LaunchError, PinnedBy, Refusal};
pub use manager::{ManagerHandle, ReloadReport, Trusted};
pub use model::Sha256;
pub use model::name::{ParsePluginNameError, PluginName};
pub use plugin::RestartPolicy;
pub use server::socket::ListenError;
pub use state::StateLockError;
pub use trust::TrustError;
