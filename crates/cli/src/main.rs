//! The command line of Keyway, a local secrets engine: the daemon, and the commands that ask it.
//!
//! This crate composes the libraries of the workspace and holds no logic that one of them could hold. [`cli`] is the
//! contract with scripts, [`commands`] has a module for each command, [`failure`] is what a command ends with when it
//! does not succeed, and [`output`] turns results into text.

#![deny(unsafe_code)]

mod app;
mod bundled;
mod cli;
mod commands;
mod daemon;
mod exit;
mod failure;
mod failures;
mod globals;
mod input;
mod inventory;
mod names;
mod output;
mod printable;
mod process;
mod prompt;
mod signals;
mod store;
mod usage;

use std::process::ExitCode;

fn main() -> ExitCode {
    app::run()
}
