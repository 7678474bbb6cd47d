//! What the live interop tests share: the programs of both sides, started and
//! watched.
//!
//! [`go_programs`] builds the Go peers of `interop/go`; without Go it says so
//! loudly and the test is skipped, unless `KEYWAY_REQUIRE_ALL=1` makes that a
//! failure. [`Home`] is a throw-away home of one engine, [`Daemon`] a
//! `keyway serve` in it, [`Peer`] a Go program with its report.

#![forbid(unsafe_code)]

mod daemon;
mod demo;
mod guard;
mod home;
mod peer;
mod programs;
mod wait;

pub use daemon::Daemon;
pub use demo::{Demo, value as demo_value};
pub use guard::Guard;
pub use home::Home;
pub use peer::{Peer, Report};
pub use programs::{GoPrograms, go_programs, keyway, rust_program};
pub use wait::{wait_for_end, wait_until};
