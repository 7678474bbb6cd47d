//! Shared helpers of the tests across crates: a daemon to test, and the plugin that is built to misbehave.
//!
//! [`TestDaemon`] runs the engine inside the test; [`Behaviour`] is the one list of what the plugin can do wrong, and
//! [`plugin`] is that plugin, on the bare layers, since the SDK would not let it.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

pub mod behaviour;
pub mod daemon;
mod inherited;
pub mod log;
pub mod plugin;
pub mod processes;

pub use behaviour::Behaviour;
pub use daemon::TestDaemon;
