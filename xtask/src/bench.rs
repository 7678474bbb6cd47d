//! `cargo xtask bench`: the benchmarks, their ratios beside the goals, and a report of both.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use crate::workspace::Workspace;
use crate::{dist, shell};

/// Options of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct Options {
    /// The group to measure. Default: all.
    #[arg(value_enum)]
    group: Option<Group>,
    /// More rounds and longer measurements: about ten times as long.
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    end_to_end: EndToEnd,
}

/// Options of the group `e2e`.
#[derive(Args)]
struct EndToEnd {
    /// Measure the programs of this folder (`keyway` or `bin/keyway`) instead of those that `cargo xtask dist` builds.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Compare them in pairs with the programs of this folder, which were built before.
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// Which configurations to measure, such as `plain,audit-log`. Default: all.
    #[arg(long, value_name = "NAMES")]
    variants: Option<String>,
}

/// A group of measurements: a program that prints ratios, and for crates a file in `benches/benches`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    /// The multiplexer beside the bare socket and other multiplexers.
    Mux,
    /// Unary calls beside hyper, tonic, connectrpc and ttrpc.
    Rpc,
    /// Daemon and plugins as processes, beside the same in Go or beside another build.
    E2e,
}

impl Group {
    const ALL: [Self; 3] = [Self::Mux, Self::Rpc, Self::E2e];

    fn name(self) -> &'static str {
        match self {
            Self::Mux => "mux",
            Self::Rpc => "rpc",
            Self::E2e => "e2e",
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
            (Self::E2e, false) => 10,
            (Self::Mux, true) => 300,
            (Self::Rpc, true) => 1500,
            (Self::E2e, true) => 100,
        }
    }
}

/// Criterion's settings for a run of seconds; its defaults take minutes for each group.
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
/// Fails if a program cannot be built or fails. A missed goal is not an error, because a busy machine misses goals too.
pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::load()?;
    let groups: Vec<Group> = match options.group {
        Some(group) => vec![group],
        None => Group::ALL.to_vec(),
    };
    let mut report = head(&workspace)?;
    for group in groups {
        let name = group.name();
        println!("\n== {name}");
        let text = match group {
            Group::Mux | Group::Rpc => crates(&workspace, group, options.full)?,
            Group::E2e => end_to_end(&workspace, options)?,
        };
        write!(report, "\n## {name}\n\n{text}")?;
    }
    let path = workspace.target_directory.join("bench/report.md");
    fs::create_dir_all(path.parent().unwrap_or(&workspace.target_directory))?;
    fs::write(&path, report).with_context(|| format!("cannot write {}", path.display()))?;
    println!("\nThe report is {}", path.display());
    Ok(())
}

/// Runs the programs that print ratios once, unoptimised, as they were built for the tests. Their figures mean nothing; they
/// must work. The tests run each criterion benchmark once.
///
/// # Errors
///
/// Fails if a program fails.
pub(crate) fn smoke(workspace: &Workspace) -> Result<()> {
    let built = workspace.target_directory.join("debug");
    for group in [Group::Mux, Group::Rpc] {
        shell::run(Command::new(built.join(group.ratios())).args(["1", "calls"]))?;
    }
    let mut command = Command::new(built.join(Group::E2e.ratios()));
    command.arg("--programs").arg(&built);
    command.arg("--module").arg(built.join("allow-all"));
    command.args(["--variants", "plain,audit-log-and-module"]);
    command.args(["--rounds", "1", "--milliseconds", "20"]);
    go_programs(workspace, &mut command)?;
    shell::run(&mut command)
}

/// Returns the head of the report: revision, processors and load of the machine.
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

/// Measures crates: the program that prints ratios, and criterion's benchmarks.
fn crates(workspace: &Workspace, group: Group, full: bool) -> Result<String> {
    let (ratios, rounds) = (group.ratios(), group.rounds(full).to_string());
    let mut command = program(workspace, "keyway-benches", &[&ratios])?;
    let table = shell::read(command.arg(&rounds))?;
    println!("{table}");
    let criterion = criterion(&workspace.root, group.name(), full)?;
    println!("{criterion}");
    Ok(format!(
        "```text\n{}\n```\n\n### Criterion\n\n```text\n{}\n```\n",
        table.trim_end(),
        criterion.trim_end()
    ))
}

/// Measures processes.
fn end_to_end(workspace: &Workspace, options: &Options) -> Result<String> {
    let EndToEnd {
        programs,
        against,
        variants,
    } = &options.end_to_end;
    let programs = match programs {
        Some(programs) => programs.clone(),
        None => dist::programs(workspace).map(|()| dist::folder(workspace))?,
    };
    let (ratios, module) = (Group::E2e.ratios(), "allow-all");
    let mut command = program(workspace, "keyway-bench-e2e", &[&ratios, module])?;
    command.arg("--programs").arg(programs);
    command.arg("--module").arg(release(workspace).join(module));
    command.args(["--rounds", &Group::E2e.rounds(options.full).to_string()]);
    if let Some(variants) = variants {
        command.args(["--variants", variants]);
    }
    match against {
        Some(against) => {
            command.arg("--against").arg(against);
        }
        None => go_programs(workspace, &mut command)?,
    }
    let table = shell::read(&mut command)?;
    println!("{table}");
    Ok(format!("```text\n{}\n```\n", table.trim_end()))
}

/// Builds the daemon and the plugin in Go and adds them to the arguments; without Go the program reports that it skips them.
///
/// # Errors
///
/// Fails if the build fails, or if Go is missing while `KEYWAY_REQUIRE_ALL=1` forbids skipping.
fn go_programs(workspace: &Workspace, command: &mut Command) -> Result<()> {
    if !shell::exists("go", "version") {
        ensure!(
            !shell::everything_required(),
            "the group `e2e` needs Go, and KEYWAY_REQUIRE_ALL=1 forbids skipping it"
        );
        return Ok(());
    }
    // The interop tests build into the same folder.
    let folder = workspace.target_directory.join("interop-go");
    fs::create_dir_all(&folder)?;
    let mut build = Command::new("go");
    build.current_dir(workspace.root.join("interop/go"));
    build.args(["build", "-o"]).arg(folder.join(""));
    shell::run(build.args(["./cmd/daemon", "./cmd/plugin"]))?;
    command.arg("--go").arg(folder);
    Ok(())
}

/// Builds programs of a package for release and returns a command that starts the first of them.
fn program(workspace: &Workspace, package: &str, programs: &[&str]) -> Result<Command> {
    let mut build = shell::cargo(&workspace.root);
    build.args(["build", "--locked", "--release", "--package", package]);
    for program in programs {
        build.args(["--bin", program]);
    }
    shell::run(&mut build)?;
    Ok(Command::new(release(workspace).join(programs[0])))
}

fn release(workspace: &Workspace) -> PathBuf {
    workspace.target_directory.join("release")
}

/// Runs a criterion group and returns the lines with results.
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

/// Removes the lines about criterion's progress.
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
    fn results_are_the_lines_with_measurements() {
        let output = "Gnuplot not found\nBenchmarking unary/raw\nBenchmarking unary/raw: Warming up\n\
                      unary/raw   time:   [1 us 2 us 3 us]\n            thrpt:  [1 2 3]\n\nFound 1 outliers\n";
        assert_eq!(
            results(output),
            "unary/raw   time:   [1 us 2 us 3 us]\n            thrpt:  [1 2 3]"
        );
    }
}
