//! Benchmarks of the workspace's crates beside other implementations.
//!
//! Contenders that are compared run in one process, with both ends on one thread, in alternating rounds. They are timed by
//! the CPU clock of that thread, so that other processes disturb them little. Only the ratio between two of them is a result.
//! The criterion groups in `benches/` and the programs in `src/bin/`, which print ratios, share the contenders.
#![deny(unsafe_code)]

pub mod allocations;
pub mod contenders;
pub mod counts;
pub mod mux;
pub mod ratio;
mod thread_time;
