//! Shared helpers of the tests across crates: a daemon to test, and the plugin that is built to misbehave.
//!
//! [`TestDaemon`] runs the daemon inside the test, in a [`Home`]. [`plugin`] is the misbehaving plugin, on the bare layers because
//! the SDK would not let it; [`Behaviour`] lists its fixed faults, and a [`Script`] says the rest. [`caller`] is a client that checks
//! nothing itself.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

pub mod behaviour;
pub mod caller;
pub mod daemon;
mod daemon_process;
mod home;
mod inherited;
pub mod plugin;
pub mod processes;
pub mod requirements;
pub mod script;

pub use behaviour::Behaviour;
pub use daemon::TestDaemon;
pub use daemon_process::DaemonProcess;
pub use home::Home;
pub use script::Script;
