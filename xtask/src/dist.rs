//! `cargo xtask dist`: builds the programs for users, and packages of them.

mod check;
mod debian;
mod share;
mod statically;
mod tarball;
mod tree;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::shell::{self, Stages};
use crate::workspace::Workspace;

/// The plugins that are shipped: the package and the name of its executable, which is the plugin's name.
pub(crate) const PLUGINS: &[(&str, &str)] =
    &[("keyway-plugin-env", "env"), ("keyway-plugin-file", "file")];

const PROFILE: &str = "ship";

/// The goals for the sizes of stripped binaries, in bytes.
const KEYWAY_GOAL: u64 = 8 * 1024 * 1024;
const PLUGIN_GOAL: u64 = 5 * 1024 * 1024 / 2;

/// Options of `cargo xtask dist`.
#[derive(Args)]
pub(crate) struct Options {
    /// Build and lay out the programs only, without packages.
    #[arg(long)]
    pub(crate) programs: bool,
}

/// Builds and lays out `target/dist`: the programs, what accompanies them, and the packages.
///
/// # Errors
///
/// Fails if a build fails, a file cannot be written, a program is larger than its goal, or a package is not as it should be.
pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::load()?;
    let mut stages = Stages::default();
    stages.run("programs", || programs(&workspace))?;
    if !options.programs {
        let dist = Dist::of(&workspace);
        stages.run_unless(statically::missing(&workspace)?, "static program", || {
            check::static_program(&statically::build(&workspace, &dist)?)
        })?;
        packages(&workspace, &mut stages)?;
    }
    stages.print();
    Ok(())
}

/// Builds the programs and lays them out.
///
/// # Errors
///
/// Fails if a build fails, a file cannot be written, or a program is larger than its goal.
pub(crate) fn programs(workspace: &Workspace) -> Result<()> {
    builds(workspace).iter_mut().try_for_each(shell::run)?;
    let built = workspace.target_directory.join(PROFILE);
    let dist = Dist::of(workspace);
    let mut files = vec![copy(&built, "keyway", &dist.programs)?];
    for (_, name) in PLUGINS {
        files.push(copy(&built, name, &dist.plugins)?);
    }
    report(&files)
}

/// Makes and checks the packages of the programs that [`programs`] has laid out.
///
/// # Errors
///
/// Fails if a package cannot be made, or is not as it should be.
pub(crate) fn packages(workspace: &Workspace, stages: &mut Stages) -> Result<()> {
    let dist = Dist::of(workspace);
    stages.run("manual pages, completions and units", || {
        share::lay_out(workspace, &dist)
    })?;
    stages.run("program installed by cargo", || {
        check::installed_by_cargo(workspace)
    })?;
    let tree = tree::read(&dist)?;
    check::complete(&tree)?;
    stages.run("tarball", || {
        check::tarball(&tarball::write(workspace, &dist, &tree)?)
    })?;
    stages.run_unless(debian::missing(), "Debian package", || {
        check::debian(&debian::write(workspace, &dist, &tree)?)
    })
}

/// Returns the packages of the binaries, each of which is built alone.
pub(crate) fn built_alone() -> impl Iterator<Item = &'static str> {
    std::iter::once("keyway").chain(PLUGINS.iter().map(|(package, _)| *package))
}

/// Returns the commands that build the binaries, one by one: built together, each would get the features that any of them
/// needs.
pub(crate) fn builds(workspace: &Workspace) -> Vec<Command> {
    built_alone()
        .map(|package| {
            let mut command = shell::cargo(&workspace.root);
            command.args([
                "build",
                "--locked",
                "--profile",
                PROFILE,
                "--package",
                package,
            ]);
            command
        })
        .collect()
}

/// Returns the command that builds the static program of [`static_program`], if this machine can.
///
/// # Errors
///
/// Fails if the compiler cannot be started.
pub(crate) fn static_build(workspace: &Workspace) -> Result<Option<Command>> {
    let is_possible = statically::missing(workspace)?.is_none();
    Ok(is_possible.then(|| statically::unoptimised(workspace)))
}

/// Checks that the program works when it is linked statically. It is not optimised: with the profile of the other programs
/// it would take minutes.
///
/// # Errors
///
/// Fails if the build fails, or the program does not work.
pub(crate) fn static_program(workspace: &Workspace, stages: &mut Stages) -> Result<()> {
    stages.run_unless(statically::missing(workspace)?, "static program", || {
        check::static_program(&statically::build_unoptimised(workspace)?)
    })
}

/// Returns the folder of the binaries for users.
pub(crate) fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target_directory.join("dist")
}

/// The folders of the binaries for users.
pub(crate) struct Dist {
    /// The root of the others.
    root: PathBuf,
    /// The folder of `keyway`.
    pub(crate) programs: PathBuf,
    pub(crate) plugins: PathBuf,
    /// The folder of manual pages, completions and documents.
    share: PathBuf,
    /// The folder of the units of systemd.
    units: PathBuf,
}

impl Dist {
    pub(crate) fn of(workspace: &Workspace) -> Self {
        let root = folder(workspace);
        Self {
            programs: root.join("bin"),
            plugins: root.join("plugins"),
            share: root.join("share"),
            units: root.join("lib/systemd/user"),
            root,
        }
    }

    /// Returns the program `keyway`.
    fn keyway(&self) -> PathBuf {
        self.programs.join("keyway")
    }
}

/// Returns the time that the files of a package have, in seconds since 1970: `SOURCE_DATE_EPOCH` if it is set, else that of the
/// commit.
fn source_date(workspace: &Workspace) -> Result<u64> {
    let text = match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => shell::read(
            Command::new("git")
                .args(["log", "-1", "--format=%ct"])
                .current_dir(&workspace.root),
        )
        .context("without a git repository, set SOURCE_DATE_EPOCH")?,
    };
    text.trim()
        .parse()
        .with_context(|| format!("{text:?} is not a number of seconds"))
}

fn copy(from: &Path, name: &str, folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let target = folder.join(name);
    // A running executable cannot be overwritten, but its name can be given to a new file.
    let fresh = folder.join(format!(".{name}.new"));
    fs::copy(from.join(name), &fresh)
        .and_then(|_| fs::rename(&fresh, &target))
        .with_context(|| format!("cannot write {}", target.display()))?;
    Ok(target)
}

/// Prints each size.
///
/// # Errors
///
/// Fails if a binary is larger than its goal.
fn report(files: &[PathBuf]) -> Result<()> {
    let mut too_large = Vec::new();
    for file in files {
        let size = fs::metadata(file)?.len();
        println!("{size:>10} bytes  {}", file.display());
        let goal = if file.ends_with("keyway") {
            KEYWAY_GOAL
        } else {
            PLUGIN_GOAL
        };
        if size > goal {
            too_large.push(format!(
                "{} has {size} bytes, and its goal is {goal}",
                file.display()
            ));
        }
    }
    ensure!(too_large.is_empty(), "{}", too_large.join("; "));
    Ok(())
}
