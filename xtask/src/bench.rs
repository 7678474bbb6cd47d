//! `cargo xtask bench`: the benchmarks, their ratios beside the goals, and a report of both.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::shell;
use crate::workspace::Workspace;

/// Options of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct Options {
    /// What to measure; everything, if nothing is named.
    #[arg(value_enum)]
    group: Option<Group>,
    /// More rounds and longer measurements: about ten times as long.
    #[arg(long)]
    full: bool,
}

/// What is measured together: a file in `benches/benches`, and a program that prints ratios.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    /// The multiplexer beside the bare socket and other multiplexers.
    Mux,
    /// Unary calls beside hyper, tonic, connectrpc and ttrpc.
    Rpc,
}

impl Group {
    const ALL: [Self; 2] = [Self::Mux, Self::Rpc];

    fn name(self) -> &'static str {
        match self {
            Self::Mux => "mux",
            Self::Rpc => "rpc",
        }
    }

    fn ratios(self) -> String {
        format!("{}-ratios", self.name())
    }

    /// Rounds of the program that prints ratios. They alternate between the contenders, and the
    /// median of each is taken.
    fn rounds(self, full: bool) -> u32 {
        match (self, full) {
            (Self::Mux, false) => 30,
            (Self::Rpc, false) => 150,
            (Self::Mux, true) => 300,
            (Self::Rpc, true) => 1500,
        }
    }
}

/// Criterion's settings for a quick look; without them it takes minutes for each group.
const QUICK: [&str; 6] = [
    "--warm-up-time",
    "0.2",
    "--measurement-time",
    "0.6",
    "--sample-size",
    "10",
];

/// Measures and writes the report.
///
/// # Errors
///
/// Something cannot be built, or fails while it is measured. A goal that is missed is not an error:
/// a busy machine misses goals too.
pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::load()?;
    let groups: Vec<Group> = match options.group {
        Some(group) => vec![group],
        None => Group::ALL.to_vec(),
    };
    let mut report = head(&workspace)?;
    for group in groups {
        measure(&workspace, group, options.full, &mut report)?;
    }
    let path = workspace.target_directory.join("bench/report.md");
    fs::create_dir_all(path.parent().unwrap_or(&workspace.target_directory))?;
    fs::write(&path, report).with_context(|| format!("cannot write {}", path.display()))?;
    println!("\nThe report is {}", path.display());
    Ok(())
}

/// Runs the programs that print ratios once, unoptimised, as they were built for the tests: they must work, however long it
/// takes. The benchmarks themselves are run once each by the tests.
///
/// # Errors
///
/// A program fails.
pub(crate) fn smoke(workspace: &Workspace) -> Result<()> {
    let built = workspace.target_directory.join("debug");
    Group::ALL.iter().try_for_each(|group| {
        shell::run(Command::new(built.join(group.ratios())).args(["1", "calls"]))
    })
}

/// What was measured, and where.
fn head(workspace: &Workspace) -> Result<String> {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty"]);
    let revision = shell::read(git.current_dir(&workspace.root))?;
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut models = processors
        .lines()
        .filter_map(|line| line.strip_prefix("model name"));
    let model = models.next().map_or("unknown", |model| {
        model.trim_start_matches([' ', '\t', ':'])
    });
    let count = std::thread::available_parallelism()?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("unknown");
    Ok(format!(
        "# Benchmarks of {}\n\n{count} x {model}, load {load} at the start. Compare numbers within one table only.\n",
        revision.trim()
    ))
}

fn measure(workspace: &Workspace, group: Group, full: bool, report: &mut String) -> Result<()> {
    let name = group.name();
    println!("\n== {name}");
    let package = ["--locked", "--release", "--package", "keyway-benches"];
    let (ratios, rounds) = (group.ratios(), group.rounds(full).to_string());
    let mut build = shell::cargo(&workspace.root);
    shell::run(build.arg("build").args(package).args(["--bin", &ratios]))?;
    let mut command = shell::cargo(&workspace.root);
    command.args(["run", "--quiet"]).args(package);
    let table = shell::read(command.args(["--bin", &ratios, "--", &rounds]))?;
    println!("{table}");
    let criterion = criterion(&workspace.root, name, full)?;
    println!("{criterion}");
    write!(
        report,
        "\n## {name}\n\n```text\n{}\n```\n\n### Criterion\n\n```text\n{}\n```\n",
        table.trim_end(),
        criterion.trim_end()
    )?;
    Ok(())
}

/// Runs a criterion group and returns the lines that hold its results.
fn criterion(root: &Path, group: &str, full: bool) -> Result<String> {
    let mut command = shell::cargo(root);
    command.args(["bench", "--locked", "--package", "keyway-benches"]);
    command.args(["--bench", group, "--"]);
    if !full {
        command.args(QUICK);
    }
    let output = shell::read(&mut command)?;
    Ok(results(&output))
}

/// Leaves out what criterion says about its progress.
fn results(output: &str) -> String {
    let noise = ["Benchmarking ", "Gnuplot", "Warning", "Unable", "Found "];
    let is_result = |line: &&str| {
        let line = line.trim_start();
        !line.is_empty() && !noise.iter().any(|noise| line.starts_with(noise))
    };
    let lines: Vec<&str> = output.lines().filter(is_result).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_what_was_measured() {
        let output = "Gnuplot not found\nBenchmarking unary/raw\nBenchmarking unary/raw: Warming up\n\
                      unary/raw   time:   [1 us 2 us 3 us]\n            thrpt:  [1 2 3]\n\nFound 1 outliers\n";
        assert_eq!(
            results(output),
            "unary/raw   time:   [1 us 2 us 3 us]\n            thrpt:  [1 2 3]"
        );
    }
}
