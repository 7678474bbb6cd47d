//! `cargo xtask fuzz`: runs the fuzz targets on a stable toolchain, starting from the kept corpus.

mod report;

use std::collections::VecDeque;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use self::report::Report;
use crate::shell;
use crate::workspace::Workspace;

/// The cargo command that builds and runs the targets.
const TOOL: &str = "cargo-fuzz";
const TOOL_VERSION: &str = "0.13.2";

/// What one input may take: far more than any of them needs.
const SECONDS_PER_INPUT: u32 = 10;
const MEGABYTES: u32 = 1024;

/// Options of `cargo xtask fuzz`.
#[derive(Args)]
pub(crate) struct Options {
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u64,
    /// How many targets run at the same time.
    #[arg(long, default_value_t = 1)]
    pub(crate) jobs: usize,
    /// Where the random changes of inputs begin: the same number tries the same inputs in the same order.
    #[arg(long)]
    pub(crate) seed: Option<u32>,
    /// Add the inputs that were found since to the kept corpus, without those that reach nothing new.
    #[arg(long)]
    pub(crate) keep: bool,
    /// The targets, the files of `fuzz/targets`. All of them if none is named.
    pub(crate) targets: Vec<String>,
}

/// Builds the targets and runs each one.
///
/// # Errors
///
/// A target found a fault: the message names the input and how to run it again.
pub(crate) fn run(options: &Options) -> Result<()> {
    let fuzzer = Fuzzer::install()?;
    let targets = fuzzer.select(&options.targets)?;
    fuzzer.build()?;
    if options.keep {
        return targets.iter().try_for_each(|target| fuzzer.keep(target));
    }
    let plan: Vec<_> = targets
        .into_iter()
        .map(|target| (target, options.seconds))
        .collect();
    fuzzer.run_all(&plan, options.jobs, options.seed)
}

/// What a change must survive: a minute of what any peer's bytes reach first, less of the others. The inputs are the same each
/// time, so that a change is judged by what it does and not by luck; [`run`] looks for new ones.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn minutes() -> Result<()> {
    const SEED: u32 = 2026;
    const LONG: [&str; 3] = ["frame_decoder", "session_bytes", "session_pair"];
    let fuzzer = Fuzzer::install()?;
    fuzzer.build()?;
    let mut plan: Vec<_> = fuzzer
        .select(&[])?
        .into_iter()
        .map(|target| {
            let seconds = if LONG.contains(&target.as_str()) {
                60
            } else {
                20
            };
            (target, seconds)
        })
        .collect();
    // The long ones first, so that the short ones fill the gap at the end.
    plan.sort_by_key(|(_, seconds)| std::cmp::Reverse(*seconds));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    fuzzer.run_all(&plan, cores.min(2), Some(SEED))
}

/// The installed tool and the folders that it works in.
struct Fuzzer {
    /// The crate of the targets.
    folder: PathBuf,
    root: PathBuf,
    /// Below it everything is built, and new inputs are collected.
    target_directory: PathBuf,
    /// With the tool in it.
    path: OsString,
}

impl Fuzzer {
    /// Finds the tool, or builds it into the target directory.
    fn install() -> Result<Self> {
        let workspace = Workspace::load()?;
        let tools = workspace.target_directory.join("tools");
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(tools.join("bin")).chain(env::split_paths(&path));
        let fuzzer = Self {
            folder: workspace.root.join("fuzz"),
            path: env::join_paths(folders).context("PATH cannot be extended")?,
            target_directory: workspace.target_directory.join("fuzz"),
            root: workspace.root,
        };
        let is_there = fuzzer.tool().arg("--version").output();
        if !is_there.is_ok_and(|output| output.status.success()) {
            let version = format!("{TOOL}@{TOOL_VERSION}");
            shell::run(
                shell::cargo(&fuzzer.root)
                    .args(["install", "--quiet", "--locked", &version, "--root"])
                    .arg(&tools),
            )?;
        }
        Ok(fuzzer)
    }

    fn tool(&self) -> Command {
        let mut command = shell::cargo(&self.root);
        command.arg("fuzz").env("PATH", &self.path);
        command
    }

    /// All targets, or those that were named.
    fn select(&self, named: &[String]) -> Result<Vec<String>> {
        let list = shell::read(self.tool().arg("list"))?;
        let all: Vec<String> = list.lines().map(str::to_owned).collect();
        ensure!(!all.is_empty(), "there are no fuzz targets");
        if let Some(unknown) = named.iter().find(|name| !all.contains(name)) {
            bail!(
                "there is no fuzz target `{unknown}`, only {}",
                all.join(", ")
            );
        }
        Ok(if named.is_empty() {
            all
        } else {
            named.to_vec()
        })
    }

    /// A stable compiler has no sanitizers, and code without `unsafe` needs none.
    fn build(&self) -> Result<()> {
        let mut build = self.tool();
        build.args(["build", "--sanitizer", "none", "--target-dir"]);
        shell::run(build.arg(&self.target_directory))
    }

    /// Runs the targets, some of them at a time, and prints a line for each.
    fn run_all(&self, plan: &[(String, u64)], jobs: usize, seed: Option<u32>) -> Result<()> {
        let waiting: Mutex<VecDeque<_>> = Mutex::new(plan.iter().collect());
        let faults = Mutex::new(Vec::new());
        let work = || {
            let next = || {
                waiting
                    .lock()
                    .expect("nobody panics with the lock")
                    .pop_front()
            };
            while let Some((target, seconds)) = next() {
                if let Err(fault) = self.run_one(target, *seconds, seed) {
                    let fault = format!("{fault:#}");
                    faults
                        .lock()
                        .expect("nobody panics with the lock")
                        .push(fault);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..jobs.max(1) {
                scope.spawn(work);
            }
        });
        let faults = faults.into_inner().expect("nobody panics with the lock");
        ensure!(faults.is_empty(), "{}", faults.join("\n"));
        Ok(())
    }

    fn run_one(&self, target: &str, seconds: u64, seed: Option<u32>) -> Result<()> {
        let found = self.found(target)?;
        let mut command = self.fuzz(target);
        command.arg(&found).arg(self.corpus(target)).args([
            "--",
            "-print_final_stats=1",
            &format!("-max_total_time={seconds}"),
            &format!("-timeout={SECONDS_PER_INPUT}"),
            &format!("-rss_limit_mb={MEGABYTES}"),
        ]);
        command.args(seed.map(|seed| format!("-seed={seed}")));
        let output = command
            .output()
            .with_context(|| format!("cannot start {TOOL}"))?;
        let text = String::from_utf8_lossy(&output.stderr);
        let report = Report::read(&text);
        if output.status.success() {
            println!("{target:<16} {report}");
            return Ok(());
        }
        print!("{text}");
        match report.artifact {
            Some(input) => bail!(
                "{target} fails on {input}; run it again with\n  \
                 cargo fuzz run --sanitizer none --target-dir {} {target} {input}",
                self.target_directory.display()
            ),
            None => bail!("{target} ended with {} and left no input", output.status),
        }
    }

    /// Adds what was found to the kept corpus, as far as it reaches something new.
    fn keep(&self, target: &str) -> Result<()> {
        let found = self.found(target)?;
        let mut command = self.fuzz(target);
        command
            .arg(self.corpus(target))
            .arg(found)
            .args(["--", "-merge=1"]);
        shell::run(&mut command)
    }

    fn fuzz(&self, target: &str) -> Command {
        let mut command = self.tool();
        command
            .args(["run", "--sanitizer", "none", "--target-dir"])
            .arg(&self.target_directory)
            .arg(target);
        command
    }

    /// The inputs that are part of the repository.
    fn corpus(&self, target: &str) -> PathBuf {
        self.folder.join("corpus").join(target)
    }

    /// Where new inputs go. They are used again the next time.
    fn found(&self, target: &str) -> Result<PathBuf> {
        let folder: &Path = &self.target_directory.join("found").join(target);
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder.to_owned())
    }
}
