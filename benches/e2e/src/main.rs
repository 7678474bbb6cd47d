//! Measures the path of a secret from end to end: load, daemon and plugins as real processes.
//!
//! # Method
//!
//! - `keyway serve` runs with its built-in provider: plain, with an audit log, with an access-control module, and with both.
//!   The daemon and the plugin in Go of `interop/go` run beside it. Each has a temporary home.
//! - The [`load`] keeps connections alive and checks the value in every response, so that an error never counts as speed. It
//!   runs once with 64 callers on all cores, and once with one caller and every process on the same core: two idle cores wake
//!   each other for every request, and the time for that depends on the machine more than on the code.
//! - Every round measures every system once, in short parts that alternate between the systems in both orders. A ratio is the
//!   median of the ratios of the rounds. No round is left out; the report says how many were quiet.
//! - CPU time is that of the scheduler (`/proc/PID/task/*/schedstat`), in user and kernel mode.
//! - With `--against`, two builds are compared in pairs: a difference counts if its median is above 5 % and nine of ten rounds
//!   have its sign.
//!
//! # Reading the figures
//!
//! Compare figures of one run only. On a busy machine the CPU time of a request and the ratios remain usable; absolute
//! throughput and latency do not. The access-control module is the same program for both builds of a comparison.
#![allow(clippy::print_stdout, reason = "this program prints tables")]

mod interrupt;
mod load;
mod process;
mod report;
mod response;
mod rounds;
mod secret;
mod statistics;
mod system;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::rounds::Rounds;
use crate::system::{System, Variant};

/// Measures GetSecrets through a daemon and its plugins.
#[derive(Parser)]
struct Arguments {
    /// Folder that holds `keyway` or `bin/keyway`.
    #[arg(long, value_name = "DIR")]
    programs: PathBuf,
    /// The executable of the access-control module.
    #[arg(long, value_name = "FILE")]
    module: PathBuf,
    /// Folder that holds the daemon and the plugin in Go.
    #[arg(long, value_name = "DIR", conflicts_with = "against")]
    go: Option<PathBuf>,
    /// Folder of the programs of another build, which the first one is compared with.
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// The configurations to measure. Default: all.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES")]
    variants: Vec<Variant>,
    #[arg(long, value_name = "N", default_value_t = 10)]
    rounds: usize,
    /// Duration of one measurement in milliseconds. Each system has two in each round.
    #[arg(long, value_name = "N", default_value_t = 400)]
    milliseconds: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    interrupt::watch().context("cannot catch signals")?;
    let variants = match &arguments.variants[..] {
        [] => &Variant::ALL,
        named => named,
    };
    let mut systems = Vec::new();
    for variant in variants {
        for programs in arguments.against.iter().chain([&arguments.programs]) {
            systems.push(System::start(programs, &arguments.module, *variant)?);
        }
    }
    if let Some(go) = &arguments.go {
        systems.push(System::start_go(go)?);
    }
    let rounds = measure(&systems, &arguments)?;
    systems.into_iter().try_for_each(System::stop)?;
    let text = if arguments.against.is_some() {
        report::comparison(variants, &rounds)
    } else {
        report::ratios(variants, &rounds)
    };
    print!("{text}");
    Ok(())
}

fn measure(systems: &[System], arguments: &Arguments) -> Result<Rounds> {
    let duration = Duration::from_millis(arguments.milliseconds);
    let mut stderr = std::io::stderr();
    let rounds = Rounds::run(systems, arguments.rounds, duration, |round| {
        // Without a standard error the progress is not shown.
        let _ = write!(stderr, "\rround {round} of {}", arguments.rounds);
    });
    let _ = writeln!(stderr);
    Ok(rounds?)
}
