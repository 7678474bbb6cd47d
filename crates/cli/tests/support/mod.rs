//! The real binary in a home of its own, and a daemon in the test's process that says what a script wants.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of this module"
)]

pub mod daemon;
pub mod engine;
mod failing;
pub mod home;
mod inventory;
pub mod terminal;
