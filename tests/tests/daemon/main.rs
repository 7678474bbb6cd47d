//! The daemon with plugins that are real processes: resolution, authorization and the lifecycle of plugins.
//!
//! One binary for all of it, because each binary links the whole daemon.

mod common;

mod access_modules;
mod authorization;
mod certainty;
mod connections;
mod external;
mod external_admission;
mod failures;
mod floods;
mod in_flight;
mod interactive;
mod lifecycle;
mod limits;
mod log;
mod pins;
mod plugin_files;
mod reload;
mod replacement;
mod resolution;
mod restarts;
mod suspension;
mod writes;
