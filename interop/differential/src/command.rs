//! The command line of `differential`.

use std::{
    io::Write as _,
    process::ExitCode,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
use clap::Parser;

use crate::{
    campaign::{Campaign, seeds},
    class::Class,
    known::verdict,
    pairing::Pairing,
    tally::Tallies,
};

/// Plays random scripts on pairs of multiplexers and compares the observations of the applications.
#[derive(Debug, Parser)]
struct Options {
    /// Play 10,000 scripts with each pairing instead of 500.
    #[arg(long)]
    long: bool,
    /// Number of scripts that each pairing plays.
    #[arg(long)]
    scripts: Option<usize>,
    /// The origin of the seeds of the scripts [default: the time of day].
    #[arg(long)]
    seed: Option<u64>,
    /// Play one pairing only, for instance `native-go`; may be repeated.
    #[arg(long)]
    pairing: Vec<Pairing>,
    /// Play one class only.
    #[arg(long)]
    class: Option<Class>,
    /// Play the script of one seed only, and show its transcript.
    #[arg(long, env = "KEYWAY_SEED")]
    script: Option<u64>,
    /// Show the first failing script of each class, also of those that are known to fail.
    #[arg(long)]
    show: bool,
}

/// Runs the command.
///
/// # Errors
///
/// Fails if the output cannot be written.
///
/// # Panics
///
/// Panics if the Go program does not build or run.
pub fn run() -> Result<ExitCode> {
    let options = Options::parse();
    let pairings = match options.pairing.as_slice() {
        [] => Pairing::ALL.to_vec(),
        some => some.to_vec(),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let base = options.seed.unwrap_or(now.unwrap_or_default().as_secs());
    let mut faults = 0;
    for pairing in pairings {
        let Some(mut campaign) = Campaign::new(pairing) else {
            writeln!(std::io::stdout(), "{pairing}: skipped: needs Go")?;
            continue;
        };
        faults += match options.script {
            Some(seed) => one(&mut campaign, pairing, seed)?,
            None => many(&mut campaign, pairing, base, &options)?,
        };
    }
    Ok(if faults == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn one(campaign: &mut Campaign, pairing: Pairing, seed: u64) -> Result<usize> {
    let mut out = std::io::stdout();
    match campaign.play_seed(seed) {
        Ok(transcript) => {
            let class = Class::of_seed(seed);
            writeln!(out, "{pairing}, class {class}, KEYWAY_SEED={seed}: passed")?;
            writeln!(out, "{transcript}")?;
            Ok(0)
        }
        Err(mut failure) => {
            campaign.shrink(&mut failure);
            writeln!(out, "{failure}")?;
            Ok(1)
        }
    }
}

fn many(campaign: &mut Campaign, pairing: Pairing, base: u64, options: &Options) -> Result<usize> {
    let mut out = std::io::stdout();
    let count = match options.scripts {
        Some(count) => count,
        None if options.long => 10_000,
        None => 500,
    };
    writeln!(out, "{pairing}: {count} scripts, --seed {base}")?;
    let start = Instant::now();
    let mut tallies = campaign.run(seeds(base, count, options.class));
    for (class, tally) in &tallies {
        let lessons = class.lessons();
        writeln!(
            out,
            "  {class:16} {:6} passed {:6} failed  {lessons}",
            tally.passed, tally.failed
        )?;
    }
    if options.show {
        shrink_all(campaign, &mut tallies);
        for failure in tallies.values().filter_map(|tally| tally.first.as_ref()) {
            writeln!(out, "{failure}")?;
        }
    }
    let wrong = verdict(pairing, &tallies);
    for fault in &wrong {
        writeln!(out, "{fault}")?;
    }
    writeln!(out, "{pairing}: {:.1?}", start.elapsed())?;
    Ok(wrong.len())
}

fn shrink_all(campaign: &mut Campaign, tallies: &mut Tallies) {
    let failures = tallies
        .values_mut()
        .filter_map(|tally| tally.first.as_mut());
    failures.for_each(|failure| campaign.shrink(failure));
}
