//! Building and finding the programs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use keyway_test_support::require;

/// The built Go programs.
#[derive(Debug, Clone)]
pub struct GoPrograms {
    folder: PathBuf,
}

impl GoPrograms {
    /// The executable of `plugin`, `accesscontrol`, `runtime`, `daemon`, `client`
    /// or `actor`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// The Go programs, built once. `None` without Go: the test is skipped.
///
/// # Panics
///
/// Panics if the programs do not build, and if Go is missing although `KEYWAY_REQUIRE_ALL` is `1`.
pub fn go_programs() -> Option<GoPrograms> {
    static BUILT: OnceLock<Option<GoPrograms>> = OnceLock::new();
    let built = BUILT.get_or_init(build_go).clone();
    require::has("Go (https://go.dev/dl)", built.is_some()).then_some(built)?
}

fn build_go() -> Option<GoPrograms> {
    Command::new("go").arg("version").output().ok()?;
    let folder = target_folder().join("interop-go");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    // Test binaries may run at the same time, and an executable that is being written cannot be started.
    let lock = File::create(folder.join(".lock")).expect("the target folder can be written");
    lock.lock().expect("a file of ours can be locked");
    let built = Command::new("go")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../go"))
        .args(["build", "-o"])
        .arg(format!("{}/", folder.display()))
        .arg("./cmd/...")
        .output()
        .expect("go runs");
    let errors = String::from_utf8_lossy(&built.stderr);
    assert!(
        built.status.success(),
        "the Go programs do not build:\n{errors}"
    );
    Some(GoPrograms { folder })
}

/// The folder of programs that cargo built: that of this program, or the one above a test binary's `deps`.
fn profile_folder() -> PathBuf {
    let program = std::env::current_exe().expect("a process knows its executable");
    let folder = program.parent().expect("a program lies in a folder");
    if !folder.ends_with("deps") {
        return folder.to_owned();
    }
    folder
        .parent()
        .expect("`deps` lies in the profile's folder")
        .to_owned()
}

fn target_folder() -> PathBuf {
    profile_folder()
        .parent()
        .map(Path::to_owned)
        .expect("a profile lies in the target folder")
}

/// The `keyway` executable.
///
/// # Panics
///
/// Panics if it does not build.
pub fn keyway() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| rust_program("keyway", "keyway"))
        .clone()
}

/// The folders of programs that are built, which `cargo xtask test` sets.
const PREBUILT: &str = "KEYWAY_PREBUILT";

/// The executable `name` of a package of this workspace, built if it is stale, or that of the folders in
/// `KEYWAY_PREBUILT` if there are any.
///
/// # Panics
///
/// Panics if it does not build, and if it is in none of the folders.
pub fn rust_program(package: &str, name: &str) -> PathBuf {
    if let Some(folders) = std::env::var_os(PREBUILT) {
        return std::env::split_paths(&folders)
            .map(|folder| folder.join(name))
            .find(|program| program.is_file())
            .unwrap_or_else(|| panic!("{name} is in none of the folders of {PREBUILT}"));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            package,
            "--bin",
            name,
        ])
        .arg("--target-dir")
        .arg(target_folder());
    if profile_folder().ends_with("release") {
        command.arg("--release");
    }
    let built = command.output().expect("cargo runs these tests");
    let errors = String::from_utf8_lossy(&built.stderr);
    assert!(
        built.status.success(),
        "{package} does not build:\n{errors}"
    );
    profile_folder().join(name)
}
