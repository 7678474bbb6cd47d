//! Shared helpers of the tests across crates.
