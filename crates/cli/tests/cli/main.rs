//! The `keyway` program: output, exit statuses, and behaviour at a terminal and as a service.
//!
//! One binary for all of it, because each binary is linked on its own. Daemons are either `keyway serve` itself or
//! [`support::script`], whose responses a test chooses.

mod support;

mod addresses;
mod audit;
mod book;
mod bytes;
mod canary;
mod clip;
mod completions;
mod configuration;
mod docker_writes;
mod doctor;
mod env_files;
mod export;
mod failures;
mod file_store;
mod hang_up;
mod hung_disk;
mod import;
mod inherited;
mod inject;
mod installed;
mod isolation;
mod job_control;
mod journal;
mod json;
mod manual;
mod memory;
mod messages;
mod plugins;
mod run;
mod run_child;
mod run_files;
mod run_mask;
mod run_signals;
mod serve;
mod service;
mod service_units;
mod shortage;
mod shutdown;
mod stdio;
mod terminal;
mod unresponsive;
mod upgrading;
mod writes;
