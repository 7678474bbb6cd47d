//! Benchmarks of the workspace's crates beside other implementations.
//!
//! Every number is taken beside the numbers that it is compared with: in one process, on one
//! thread with both ends on it, in alternating rounds. What is claimed is the ratio between two of
//! them. The same contenders serve the criterion groups in `benches/` and the programs in
//! `src/bin/`, which print ratios.
#![deny(unsafe_code)]

pub mod allocations;
pub mod contenders;
pub mod counts;
pub mod mux;
pub mod ratio;
mod thread_time;
