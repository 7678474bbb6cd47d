//! The command line of Keyway: the daemon and its client commands.
//!
//! This crate composes the libraries of the workspace and holds no logic that one of them could hold. [`cli`] is the
//! contract with scripts, [`commands`] has a module for each command, [`failure`] is the error of a command, and
//! [`output`] formats results.

#![deny(unsafe_code)]

mod app;
mod builtin;
mod cli;
mod clipboard;
mod commands;
mod daemon;
mod env_file;
mod event_loop;
mod exit;
mod failure;
mod failures;
mod generate;
mod globals;
mod help;
mod input;
mod inventory;
mod message;
mod names;
mod output;
mod passphrase;
mod process;
mod program;
mod prompt;
mod reference;
mod stdio;
mod store;
mod sys;
mod temporary;
mod usage;
mod waiting;

use std::process::ExitCode;

fn main() -> ExitCode {
    app::run()
}
