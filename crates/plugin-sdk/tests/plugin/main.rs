//! Plugins from the side of their daemon: over memory with the test kit, and as processes.

mod command;
#[path = "../common/mod.rs"]
mod common;
mod external;
mod process;
mod protocol;
mod provider;
mod store;
