//! The systems under measurement: a daemon with its plugins in a temporary home.

use std::fs::{self, Permissions};
use std::io::{Error, Result, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::load::Load;
use crate::process::{Process, descendant};
use crate::secret::SecretRequest;

/// Limit for the response of a daemon and its plugins to the first request.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The only secret. The provider in Go computes this value from the id.
const ID: &str = "demo/hit";
const VALUE: &[u8] = b"s3cr3t-value of demo/hit";

/// The name of the access-control module, and of its executable.
const MODULE: &str = "allow-all";

/// The configuration beside the built-in provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Variant {
    /// Nothing. As everywhere but in [`Shared`](Self::Shared), each request is a call of the provider.
    Plain,
    /// Requests for the same secret at the same time share one call of the provider, which is the default.
    Shared,
    /// Every request is written to an audit log.
    AuditLog,
    /// An access-control module must allow every request.
    Module,
    /// Both the audit log and the module.
    AuditLogAndModule,
}

impl Variant {
    /// Every variant, the plain one first.
    pub(crate) const ALL: [Self; 5] = [
        Self::Plain,
        Self::Shared,
        Self::AuditLog,
        Self::Module,
        Self::AuditLogAndModule,
    ];

    /// Returns the name in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Shared => "shared calls",
            Self::AuditLog => "audit log",
            Self::Module => "module",
            Self::AuditLogAndModule => "audit log, module",
        }
    }

    const fn has_audit_log(self) -> bool {
        matches!(self, Self::AuditLog | Self::AuditLogAndModule)
    }

    const fn has_module(self) -> bool {
        matches!(self, Self::Module | Self::AuditLogAndModule)
    }
}

/// A running daemon with its plugins. They are killed on drop, and their home is removed.
#[derive(Debug)]
pub(crate) struct System {
    // The process comes first, so that it is gone before its home.
    process: Process,
    home: Home,
    request: SecretRequest,
    /// The processes of the daemon, of the provider, and of the module.
    pub(crate) daemon: u32,
    pub(crate) provider: u32,
    pub(crate) module: Option<u32>,
}

impl System {
    /// Starts `keyway serve` of the folder `programs` with its built-in provider, and waits until it responds. `module` is
    /// the executable of the access-control module.
    ///
    /// # Errors
    ///
    /// Fails if a file is missing, or if the daemon does not respond in time; with its log.
    pub(crate) fn start(programs: &Path, module: &Path, variant: Variant) -> Result<Self> {
        let home = Home::new()?;
        let keyway = ["bin/keyway", "keyway"].map(|name| programs.join(name));
        let keyway = keyway.iter().find(|path| path.is_file()).ok_or_else(|| {
            Error::other(format!("{} holds no program keyway", programs.display()))
        })?;
        home.configure(variant)?;
        if variant.has_module() {
            let target = home.path("plugins").join(MODULE);
            fs::copy(module, &target).map_err(|error| {
                Error::other(format!("cannot copy {}: {error}", module.display()))
            })?;
        }
        home.store_secret(keyway)?;
        let mut command = home.command(keyway);
        command
            .arg("serve")
            .arg("--listen")
            .arg(home.socket())
            .arg("--plugin-dir")
            .arg(home.path("plugins"));
        let modules = variant.has_module().then_some(MODULE);
        Self::start_command(home, &mut command, "keyway-plugin-file", modules)
    }

    /// Starts the daemon and the plugin in Go that the folder `programs` holds, and waits until they respond.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    pub(crate) fn start_go(programs: &Path) -> Result<Self> {
        let home = Home::new()?;
        let mut command = home.command(&programs.join("daemon"));
        command
            .arg("-listen")
            .arg(home.socket())
            .arg("-exec")
            .arg(programs.join("plugin"))
            // The default of 1 s closes sessions on a busy machine.
            .args(["-stream-open-timeout", "30s", "-register-timeout", "20s"]);
        Self::start_command(home, &mut command, "plugin", None)
    }

    fn start_command(
        home: Home,
        command: &mut Command,
        provider: &str,
        module: Option<&str>,
    ) -> Result<Self> {
        let mut process = Process::start(command, &home.path("daemon.log"))?;
        let request = SecretRequest::new(ID, VALUE);
        process.wait_until(START_TIMEOUT, || {
            Load::connect(&home.socket(), &request, 1)?.run_once()
        })?;
        let daemon = process.id();
        Ok(Self {
            provider: descendant(daemon, provider)?,
            module: module.map(|name| descendant(daemon, name)).transpose()?,
            daemon,
            process,
            home,
            request,
        })
    }

    /// Connects callers.
    pub(crate) fn load(&self, n_callers: usize) -> Result<Load<'_>> {
        Load::connect(&self.home.socket(), &self.request, n_callers)
    }

    /// Returns all processes.
    pub(crate) fn processes(&self) -> impl Iterator<Item = u32> {
        [self.daemon, self.provider].into_iter().chain(self.module)
    }

    /// Stops the daemon and removes its home.
    ///
    /// # Errors
    ///
    /// Fails if the daemon does not stop in time or reports a failure.
    pub(crate) fn stop(self) -> Result<()> {
        self.process.stop()
    }
}

/// A temporary folder with every file of one daemon.
#[derive(Debug)]
struct Home(TempDir);

impl Home {
    fn new() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("keyway-bench-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()?;
        for name in ["plugins", "runtime", "config/keyway"] {
            fs::create_dir_all(folder.path().join(name))?;
        }
        Ok(Self(folder))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.path("daemon.sock")
    }

    fn configure(&self, variant: Variant) -> Result<()> {
        let mut text = "abstract = false\ndocker_socket = false\n".to_owned();
        if variant != Variant::Shared {
            text += "[plugins.file]\nshareable = false\n";
        }
        if variant.has_module() {
            text += &format!("[access]\nmodules = [\"{MODULE}\"]\n");
        }
        if variant.has_audit_log() {
            let path = self.path("audit.jsonl");
            text += &format!(
                "[audit]\npath = \"{}\"\nmax_bytes = \"16MiB\"\nkeep = 1\n",
                path.display()
            );
        }
        fs::write(self.path("config/keyway/config.toml"), text)
    }

    /// Returns a command whose environment refers to this home only.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.0.path())
            .env("XDG_RUNTIME_DIR", self.path("runtime"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_DATA_HOME", self.path("data"))
            .env("XDG_CACHE_HOME", self.path("cache"));
        command
    }

    /// Writes the secret to the store of the built-in provider.
    fn store_secret(&self, keyway: &Path) -> Result<()> {
        let mut child = self
            .command(keyway)
            .args(["set", ID])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(VALUE)?;
        }
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&output.stderr);
        Err(Error::other(format!("`keyway set` failed: {message}")))
    }
}
