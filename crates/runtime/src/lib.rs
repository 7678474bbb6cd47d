//! The daemon of Keyway: launches plugins, supervises them and resolves secrets.
//!
//! [`Daemon::bind`] takes the sockets that a [`Config`] names, and [`Daemon::run`] serves until the given future resolves. Programs and
//! plugins talk to a daemon over its sockets. This crate knows neither the command line nor the process environment. It is neither a
//! provider nor a client.
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
//! One task owns one plugin. Launched plugins are forked by a dedicated thread and are started again after growing delays
//! ([`RestartPolicy`]). External plugins run the same task without a process. The plugin directories are watched: files that appear,
//! change or vanish there are started, restarted or stopped ([`Config::watch`]).
//!
//! Each action of a caller passes one table and the access-control modules. A module that fails denies.
//!
//! A query is sent to every provider whose effective realm overlaps it. Responses are cut to realm and query. One pure function decides
//! each id by rank: a failed provider makes an id uncertain, and never lets a lower value through. A plugin of unknown kind is a
//! candidate for every id until its first registration succeeds or fails.
#![deny(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod activity;
mod api;
mod authority;
mod caller;
mod config;
mod daemon;
mod launch;
mod lines;
mod manager;
mod model;
mod plugin;
mod record;
mod registry;
mod resolve;
mod server;
mod sys;
mod version;
mod wait;

pub use activity::{Activities, Activity};
pub use authority::is_reserved;
pub use config::{
    AuditConfig, AuditFailure, BuiltInPlugin, Config, ConfigChoice, ConfigError, ConfigSource,
    ExternalPlugins, ListedSetting, PluginConfig, RestartPolicy, Variables, VersionInfo,
};
pub use daemon::{BindError, Daemon};
pub use launch::{LaunchError, PinnedBy, Refusal};
pub use manager::{DiscoveryProblem, ManagerHandle, ReloadReport, TrustError, Trusted};
pub use model::Sha256;
pub use model::name::{ParsePluginNameError, PluginName};
pub use record::{NotWritten, StateLockError};
pub use server::socket::ListenError;
