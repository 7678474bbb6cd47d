//! A temporary home.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A temporary directory with all files of one daemon, removed when dropped. If the test panics, its `.log` and
/// `.jsonl` files are printed first.
#[derive(Debug)]
pub struct Home {
    folder: TempDir,
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// Makes an empty home that other users cannot enter. Its path is short, because it holds sockets.
    ///
    /// # Panics
    ///
    /// Panics if the directory cannot be made.
    pub fn new() -> Self {
        let mut builder = tempfile::Builder::new();
        builder
            .prefix("kw")
            .permissions(Permissions::from_mode(0o700));
        let folder = builder.tempdir().expect("a temporary directory");
        Self { folder }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A path in the home.
    pub fn join(&self, below: impl AsRef<Path>) -> PathBuf {
        self.path().join(below)
    }

    /// The socket at which the daemon of this home listens.
    pub fn socket(&self) -> PathBuf {
        self.join("daemon.sock")
    }

    /// Makes a directory in the home, with those above it.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be made.
    pub fn create_dir(&self, below: impl AsRef<Path>) -> PathBuf {
        let path = self.join(below);
        fs::create_dir_all(&path).expect("a directory");
        path
    }

    /// Writes a file in the home and makes the directories above it.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be written.
    pub fn write(&self, below: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(below);
        fs::create_dir_all(path.parent().expect("below the home")).expect("a directory");
        fs::write(&path, content).expect("a file");
        path
    }

    /// Writes the configuration to its default path.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be written.
    pub fn configure(&self, toml: &str) -> PathBuf {
        self.write(".config/keyway/config.toml", toml)
    }

    /// Puts a copy of an executable into the directory `plugins` under a name.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be copied.
    pub fn install(&self, executable: impl AsRef<Path>, name: &str) -> PathBuf {
        let path = self.create_dir("plugins").join(name);
        copy_executable(executable, &path);
        path
    }

    /// Writes a shell script into the directory `plugins` under a name.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be written.
    pub fn install_script(&self, name: &str, script: &str) -> PathBuf {
        let path = self.write(Path::new("plugins").join(name), script);
        set_mode(&path, 0o755);
        path
    }

    /// A file for the standard error of a program, `NAME.log`.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be opened.
    pub fn log(&self, name: &str) -> Stdio {
        let path = self.join(format!("{name}.log"));
        let file = fs::OpenOptions::new().create(true).append(true).open(path);
        file.expect("a log file").into()
    }

    /// The arguments of `keyway` for a daemon with its state in `state` and the executables of `plugins`.
    pub fn serve_args(&self) -> [OsString; 5] {
        [
            "serve".into(),
            "--state-dir".into(),
            self.join("state").into(),
            "--plugin-dir".into(),
            self.join("plugins").into(),
        ]
    }

    /// A command in this home. Its environment is `PATH`, `HOME` and `KEYWAY_SOCKET`; it reads nothing from standard input.
    ///
    /// Signals have their default dispositions: a shell that starts the tests in the background makes them ignore SIGINT, and
    /// a child inherits that.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("env");
        command
            .arg("--default-signal")
            .arg(program.as_ref())
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("KEYWAY_SOCKET", self.socket())
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let entries = fs::read_dir(self.path()).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let extension = path.extension().unwrap_or_default();
            if extension == "jsonl" || extension == "log" {
                let text = fs::read_to_string(&path).unwrap_or_default();
                eprintln!("{}:\n{text}", path.display());
            }
        }
    }
}

/// Copies an executable in another process: a descriptor of this one that is open for writing could be inherited by a child of
/// another test, and the copy could not be executed (ETXTBSY) until that child has closed it.
///
/// # Panics
///
/// Panics if the file cannot be copied.
#[track_caller]
pub fn copy_executable(from: impl AsRef<Path>, to: &Path) {
    let status = Command::new("cp").arg(from.as_ref()).arg(to).status();
    assert!(status.expect("cp runs").success(), "{}", to.display());
    set_mode(to, 0o755);
}

/// Sets the mode of a file or directory.
///
/// # Panics
///
/// Panics if it cannot be set.
#[track_caller]
pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{feed, text};

    #[test]
    fn a_command_does_not_inherit_the_environment_of_the_tests() {
        let home = Home::new();
        let variables = text(&feed(&mut home.command("env"), b"").stdout);
        let mut names: Vec<_> = variables
            .lines()
            .filter_map(|line| Some(line.split_once('=')?.0))
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["HOME", "KEYWAY_SOCKET", "PATH"]);
        assert!(variables.contains(home.socket().to_str().expect("text")));
    }

    #[test]
    fn a_home_is_private_and_removed_with_its_files_when_dropped() {
        let home = Home::new();
        let mode = fs::metadata(home.path()).expect("a home").permissions();
        assert_eq!(mode.mode() & 0o777, 0o700);
        let script = home.install_script("plugin", "#!/bin/sh\n");
        home.configure("");
        assert!(home.join(".config/keyway/config.toml").exists());
        drop(home);
        assert!(!script.exists());
    }
}
