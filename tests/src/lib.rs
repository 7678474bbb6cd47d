//! Tests across crates: a daemon to test, and a misbehaving plugin.
//!
//! [`TestDaemon`] runs the daemon inside the test, in a [`Home`]; [`DaemonProcess`] is a process. [`plugin`] is the misbehaving
//! plugin, on the layers below the SDK, because the SDK refuses its faults; [`Behaviour`] lists its fixed faults, and a [`Script`] describes
//! the rest. [`caller`] is a client that checks nothing itself. Helpers that the tests of other crates share are in `keyway-test-support`.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../docs/book/src/clients/rust.md")]
struct RustClient;

pub mod behaviour;
pub mod caller;
pub mod canary;
pub mod daemon;
pub mod daemon_process;
pub mod fault;
mod home;
mod inherited;
pub mod plugin;
pub mod script;

pub use behaviour::Behaviour;
pub use daemon::TestDaemon;
pub use daemon_process::DaemonProcess;
pub use home::Home;
pub use script::Script;
