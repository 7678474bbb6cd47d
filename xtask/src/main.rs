//! The maintainers' commands: `cargo xtask help` lists them.
//!
//! One module is one subcommand; [`shell`] and [`workspace`] are shared.
#![allow(
    clippy::print_stdout,
    reason = "the output of these commands is for their user"
)]
#![forbid(unsafe_code)]

mod arrows;
mod background;
mod bench;
mod book;
mod codegen;
mod compatibility;
mod conformance;
mod cycles;
mod demo;
mod dist;
mod fuzz;
mod links;
mod lint;
mod shell;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The maintainers' commands of Keyway.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", disable_help_subcommand = false)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure, print ratios beside their goals, and write a report to target/bench.
    Bench(bench::Options),
    /// Build the book of docs/book into target/book, and check its links (needs mdbook).
    Book(book::Options),
    /// Write the committed code that is generated from .proto files; --check only compares.
    Codegen(codegen::Options),
    /// Run the interop tests (needs Go) and write docs/book/src/reference/compatibility.md from their results.
    Compatibility(compatibility::Options),
    /// Run the official Connect conformance suite against keyway-rpc (needs Go).
    Conformance(conformance::Options),
    /// Start a real daemon with real plugins in a temporary home and read a secret through them.
    Demo(demo::Options),
    /// Build stripped release binaries into target/dist/bin and target/dist/plugins.
    Dist(dist::Options),
    /// Run the fuzz targets on a stable toolchain, each for --seconds.
    Fuzz(fuzz::Options),
    /// Check formatting, clippy, the arrows between crates, generated code, docs, features, packages.
    Lint(lint::Options),
    /// Run the stages that a change must pass; --all adds the long ones.
    Test(test::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Bench(options) => bench::run(&options),
        Command::Book(options) => book::run(&options),
        Command::Codegen(options) => codegen::run(&options),
        Command::Compatibility(options) => compatibility::run(&options),
        Command::Conformance(options) => conformance::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Dist(options) => dist::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Lint(options) => lint::run(&options),
        Command::Test(options) => test::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
