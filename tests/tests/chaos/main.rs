//! A daemon under random faults and the load of many callers: every caller gets the right value or a clear error in time, and
//! afterwards nothing is left. A binary of its own, because it counts descriptors and memory and needs a machine's attention.
//!
//! The faults follow from a seed, which a failure prints. `KEYWAY_CHAOS_SEED` sets it; `KEYWAY_CHAOS_SECONDS` sets
//! how long the test runs.

mod callers;
mod census;
mod control;
mod cycles;
mod daemon;
mod daemon_faults;
mod faults;
mod http2;
mod model;
mod outside;
mod random;
mod rounds;
mod wire;
mod world;

const PLUGIN: &str = env!("CARGO_BIN_EXE_misbehaving-plugin");
