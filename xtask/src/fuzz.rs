//! `cargo xtask fuzz`: runs the fuzz targets on a stable toolchain, starting from the committed corpus.

mod report;

use std::collections::VecDeque;
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

/// The flags that make the coverage of compiled code visible to libFuzzer, as `cargo fuzz` sets them. A stable compiler has
/// no sanitizers, and code without `unsafe` needs none.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cllvm-args=-sanitizer-coverage-stack-depth \
    -Cllvm-args=-simplifycfg-branch-fold-threshold=0";

/// The limits of one input, far above the needs of any of them.
const SECONDS_PER_INPUT: u32 = 10;
const MEGABYTES: u32 = 1024;

/// Options of `cargo xtask fuzz`.
#[derive(Args)]
pub(crate) struct Options {
    /// Duration of the run of each target in seconds.
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u64,
    /// Number of targets that run at the same time.
    #[arg(long, default_value_t = 1)]
    pub(crate) jobs: usize,
    /// The seed of the random mutations. The same seed tries the same inputs in the same order.
    #[arg(long)]
    pub(crate) seed: Option<u32>,
    /// Add the inputs that were found since then to the committed corpus, without those that reach no new code.
    #[arg(long)]
    pub(crate) keep: bool,
    /// The targets, named as the files of `fuzz/targets`. Default: all.
    pub(crate) targets: Vec<String>,
}

/// Builds the targets and runs each one.
///
/// # Errors
///
/// Fails if a target found a fault. The message names the input and the command that runs it again.
pub(crate) fn run(options: &Options) -> Result<()> {
    let fuzzer = Fuzzer::load()?;
    let targets = fuzzer.select(&options.targets)?;
    shell::run(&mut fuzzer.build())?;
    if options.keep {
        return targets.iter().try_for_each(|target| fuzzer.keep(target));
    }
    let plan: Vec<_> = targets
        .into_iter()
        .map(|target| (target, options.seconds))
        .collect();
    fuzzer.run_all(&plan, options.jobs, options.seed)
}

/// Runs each target as long as a change must pass it: half a minute for the code that a peer's bytes reach first, less for the
/// rest. The seed is fixed, so that the outcome depends on the change and not on chance; [`run`] searches for new inputs.
///
/// # Errors
///
/// As for [`run`].
pub(crate) fn minutes() -> Result<()> {
    const SEED: u32 = 2026;
    const LONG: [&str; 3] = ["frame_decoder", "session_bytes", "session_pair"];
    let fuzzer = Fuzzer::load()?;
    shell::run(&mut fuzzer.build())?;
    let mut plan: Vec<_> = fuzzer
        .select(&[])?
        .into_iter()
        .map(|target| {
            let seconds = if LONG.contains(&target.as_str()) {
                30
            } else {
                10
            };
            (target, seconds)
        })
        .collect();
    // The long ones first, so that the short ones fill the gap at the end.
    plan.sort_by_key(|(_, seconds)| std::cmp::Reverse(*seconds));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    fuzzer.run_all(&plan, cores.min(2), Some(SEED))
}

/// Returns the command that builds all targets.
///
/// # Errors
///
/// Fails if the compiler does not print its host platform.
pub(crate) fn build() -> Result<Command> {
    Ok(Fuzzer::load()?.build())
}

/// The folders of the targets.
struct Fuzzer {
    /// The crate of the targets.
    folder: PathBuf,
    /// The folder of the build and of new inputs.
    target_directory: PathBuf,
    /// The target triple of the platform.
    platform: String,
}

impl Fuzzer {
    fn load() -> Result<Self> {
        let workspace = Workspace::load()?;
        let version = shell::read(Command::new("rustc").arg("-vV"))?;
        let platform = version
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .context("`rustc -vV` names no host")?;
        Ok(Self {
            folder: workspace.root.join("fuzz"),
            target_directory: workspace.target_directory.join("fuzz"),
            platform: platform.to_owned(),
        })
    }

    /// Returns all targets, or those that were named.
    fn select(&self, named: &[String]) -> Result<Vec<String>> {
        let folder = self.folder.join("targets");
        let mut all = Vec::new();
        for entry in
            fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?
        {
            let name = entry?.file_name();
            all.extend(
                name.to_str()
                    .and_then(|name| name.strip_suffix(".rs"))
                    .map(str::to_owned),
            );
        }
        all.sort();
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

    fn build(&self) -> Command {
        let mut build = shell::cargo(&self.folder);
        // With an explicit target, the flags do not apply to build scripts and macros.
        build
            .env("RUSTFLAGS", FLAGS)
            .args(["build", "--locked", "--release", "--bins", "--target"])
            .args([&self.platform, "--target-dir"])
            .arg(&self.target_directory);
        build
    }

    /// Returns the path of the program that was built for a target.
    fn program(&self, target: &str) -> PathBuf {
        let built = self.target_directory.join(&self.platform).join("release");
        built.join(target)
    }

    /// Runs the targets, some of them at a time, and prints a line for each.
    fn run_all(&self, plan: &[(String, u64)], jobs: usize, seed: Option<u32>) -> Result<()> {
        let waiting: Mutex<VecDeque<_>> = Mutex::new(plan.iter().collect());
        let faults = Mutex::new(Vec::new());
        let work = || {
            let next = || {
                waiting
                    .lock()
                    .expect("no thread panics with the lock")
                    .pop_front()
            };
            while let Some((target, seconds)) = next() {
                if let Err(fault) = self.run_one(target, *seconds, seed) {
                    let fault = format!("{fault:#}");
                    faults
                        .lock()
                        .expect("no thread panics with the lock")
                        .push(fault);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..jobs.max(1) {
                scope.spawn(work);
            }
        });
        let faults = faults.into_inner().expect("no thread panics with the lock");
        ensure!(faults.is_empty(), "{}", faults.join("\n"));
        Ok(())
    }

    fn run_one(&self, target: &str, seconds: u64, seed: Option<u32>) -> Result<()> {
        let found = self.found(target)?;
        let artifacts = self.folder_for("artifacts", target)?;
        let program = self.program(target);
        let mut command = Command::new(&program);
        command
            .args([&found, &self.corpus(target)])
            .args([
                "-print_final_stats=1",
                &format!("-artifact_prefix={}/", artifacts.display()),
                &format!("-max_total_time={seconds}"),
                &format!("-timeout={SECONDS_PER_INPUT}"),
                &format!("-rss_limit_mb={MEGABYTES}"),
            ])
            .args(seed.map(|seed| format!("-seed={seed}")));
        let output = command
            .output()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let text = String::from_utf8_lossy(&output.stderr);
        let report = Report::read(&text);
        if output.status.success() {
            println!("{target:<16} {report}");
            return Ok(());
        }
        print!("{text}");
        match report.artifact {
            Some(input) => bail!(
                "{target} fails on {input}; run it again with\n  {} {input}",
                program.display()
            ),
            None => bail!("{target} ended with {} and left no input", output.status),
        }
    }

    /// Adds those new inputs to the committed corpus that reach new code.
    fn keep(&self, target: &str) -> Result<()> {
        let found = self.found(target)?;
        let mut command = Command::new(self.program(target));
        command.args([&self.corpus(target), &found]).arg("-merge=1");
        shell::run(&mut command)
    }

    /// Returns the folder of the inputs that are part of the repository.
    fn corpus(&self, target: &str) -> PathBuf {
        self.folder.join("corpus").join(target)
    }

    /// Returns the folder of new inputs. Later runs start from them too.
    fn found(&self, target: &str) -> Result<PathBuf> {
        self.folder_for("found", target)
    }

    fn folder_for(&self, purpose: &str, target: &str) -> Result<PathBuf> {
        let folder: &Path = &self.target_directory.join(purpose).join(target);
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder.to_owned())
    }
}
