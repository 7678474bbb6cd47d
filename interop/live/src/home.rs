//! A throw-away home of one engine.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A temporary folder with all that one engine reads and writes: plugins,
/// configuration, state, store and socket.
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
    /// An empty home, readable by nobody else.
    ///
    /// # Panics
    ///
    /// When the folder cannot be made.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("keyway-interop-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir()
            .expect("a temporary folder can be made");
        for name in ["plugins", "runtime", "config/keyway"] {
            fs::create_dir_all(folder.path().join(name)).expect("the folder is ours");
        }
        Self { folder }
    }

    /// A path in this home.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.path("daemon.sock")
    }

    /// Puts an executable into the plugin directory under a name.
    ///
    /// # Panics
    ///
    /// When it cannot be copied.
    pub fn install(&self, executable: &Path, name: &str) {
        let target = self.path("plugins").join(name);
        fs::copy(executable, &target).expect("the executable can be copied");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(target, mode).expect("the copy is ours");
    }

    /// Writes the configuration.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn configure(&self, toml: &str) {
        fs::write(self.path("config/keyway/config.toml"), toml).expect("the folder is ours");
    }

    /// Where a program's standard error goes: a file that is shown when the test fails. Plugins that are told to
    /// fail complain loudly, and nobody is to take that for a failure of the test.
    ///
    /// # Panics
    ///
    /// When the file cannot be made.
    pub fn log(&self, name: &str) -> Stdio {
        log(self.folder.path(), name)
    }

    /// A command whose environment points into this home and knows nothing
    /// else but where programs lie.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("XDG_RUNTIME_DIR", self.path("runtime"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_DATA_HOME", self.path("data"))
            .env("XDG_CACHE_HOME", self.path("cache"));
        command
    }
}

/// A file for a program's standard error.
pub(crate) fn log(folder: &Path, name: &str) -> Stdio {
    let path = folder.join(format!("{name}.log"));
    let file = fs::OpenOptions::new().create(true).append(true).open(path);
    file.expect("the folder is ours").into()
}

impl Drop for Home {
    /// A failing test shows what the Go programs reported, and what programs printed.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let entries = fs::read_dir(self.folder.path())
            .into_iter()
            .flatten()
            .flatten();
        for path in entries.map(|entry| entry.path()) {
            let extension = path.extension().unwrap_or_default();
            if extension == "jsonl" || extension == "log" {
                let text = fs::read_to_string(&path).unwrap_or_default();
                eprintln!("{}:\n{text}", path.display());
            }
        }
    }
}
