//! The engine of the Keyway daemon: launches plugins, supervises them and resolves secrets.

mod access;
mod config;
mod connection;
mod daemon;
mod discovery;
mod engine;
mod files;
mod identity;
mod launch;
mod listen;
mod manager;
mod name;
mod plugin;
mod realm;
mod registration;
mod registry;
mod resolve;
mod server;
mod services;
mod state;
mod supervisor;
mod sys;
mod task;

pub use config::{
    AuditConfig, AuditFailure, BundledPlugin, Config, ConfigError, ManualPlugins, PluginConfig,
    Sha256, VersionInfo,
};
pub use daemon::{BindError, Daemon};
pub use discovery::{Discovery, DiscoveryProblem, discover};
pub use files::UntrustedFile;
pub use launch::LaunchError;
pub use listen::ListenError;
pub use manager::{ManagerHandle, ReloadReport};
pub use name::{ParsePluginNameError, PluginName};
pub use supervisor::RestartPolicy;
