//! `cargo xtask demo`: the whole path of one secret, with real processes, in a temporary home.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tempfile::TempDir;

use crate::workspace::Workspace;
use crate::{dist, shell};

/// Options of `cargo xtask demo`.
#[derive(Args)]
pub(crate) struct Options {}

/// The value that the demo stores and prints.
const VALUE: &str = "correct-horse-battery-staple";

/// How long the daemon may take until it is ready.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// The programs that the demo runs.
pub(crate) struct Programs {
    pub(crate) keyway: PathBuf,
    /// The folder of the plugins.
    pub(crate) plugins: PathBuf,
}

/// Builds the programs and runs the demo.
///
/// # Errors
///
/// As for [`show`], and if the build fails.
pub(crate) fn run(_options: &Options) -> Result<()> {
    let workspace = Workspace::load()?;
    let mut command = shell::cargo(&workspace.root);
    command.args(["build", "--locked", "--package", "keyway"]);
    for (package, _) in dist::PLUGINS {
        command.args(["--package", package]);
    }
    shell::run(&mut command)?;
    let plugins = workspace.target_directory.join("debug");
    show(&Programs {
        keyway: plugins.join("keyway"),
        plugins,
    })
}

/// Starts the daemon, runs every step, and removes everything.
///
/// # Errors
///
/// Fails at the first step with an unexpected outcome.
pub(crate) fn show(programs: &Programs) -> Result<()> {
    let home = Home::new(programs)?;
    let mut daemon = home.start_daemon()?;
    let outcome = walk(&home);
    daemon.stop()?;
    outcome?;
    let path = home.folder.path().to_owned();
    home.folder
        .close()
        .context("cannot remove the temporary home")?;
    ensure!(!path.exists(), "{} is still there", path.display());
    println!("\nThe daemon has stopped, its plugins with it, and the temporary home is gone.");
    Ok(())
}

/// Runs the steps that a user would take.
fn walk(home: &Home) -> Result<()> {
    say("store a secret: the value comes from stdin and is in no argument list");
    home.keyway(&["set", "demo/password"], Some(VALUE))?;

    say("list the plugins");
    home.keyway(&["plugins"], None)?;

    say("list the secrets, never their values");
    home.keyway(&["ls"], None)?;

    say("read it back");
    let read = home.keyway(&["get", "demo/password"], None)?;
    ensure!(
        read.trim_end() == VALUE,
        "`keyway get` printed another value"
    );

    say("a second provider serves what its configuration names");
    let read = home.keyway(&["get", "demo/greeting"], None)?;
    ensure!(
        read.trim_end() == "hello from env",
        "the env plugin returned another value"
    );

    curl(home)?;

    say("run a program with the secret in its environment; the reference alone is in the file");
    let file = home.folder.path().join("demo.env");
    fs::write(&file, "PASSWORD=se://demo/password\n")?;
    let file = file
        .to_str()
        .context("the temporary folder's name is UTF-8")?;
    let script = "echo \"the child sees $PASSWORD\"";
    let read = home.keyway(&["run", "--env-file", file, "--", "sh", "-c", script], None)?;
    ensure!(read.contains(VALUE), "the child did not see the value");
    Ok(())
}

/// Sends the same request as JSON over the socket.
fn curl(home: &Home) -> Result<()> {
    say("read it with any HTTP client; bytes are base64 in JSON");
    if !shell::exists("curl", "--version") {
        ensure!(!shell::everything_required(), "curl is missing");
        println!("skipped: needs curl");
        return Ok(());
    }
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--fail", "--max-time", "10"])
        .arg("--unix-socket")
        .arg(home.socket())
        .args(["--header", "content-type: application/json"])
        .args(["--data", r#"{"pattern":"demo/password"}"#])
        .arg("http://localhost/resolver.v1.ResolverService/GetSecrets");
    println!(
        "$ curl --unix-socket {} -H 'content-type: application/json' -d '{{\"pattern\":\"demo/password\"}}' \\\n       http://localhost/resolver.v1.ResolverService/GetSecrets",
        home.socket().display()
    );
    let response = shell::read(&mut command)?;
    println!("{response}");
    ensure!(response.contains("\"value\""), "the response has no value");
    Ok(())
}

/// Quotes an argument for a shell, if it needs quotes.
fn quoted(argument: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@*".contains(c);
    if argument.chars().all(is_plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', "'\\''"))
    }
}

fn say(what: &str) {
    println!("\n# {what}");
}

/// A temporary home, so that the user's files are not touched.
struct Home {
    folder: TempDir,
    keyway: PathBuf,
}

impl Home {
    fn new(programs: &Programs) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("keyway-demo-").tempdir()?;
        let plugins = folder.path().join("plugins");
        fs::create_dir(&plugins)?;
        for (_, name) in dist::PLUGINS {
            fs::copy(programs.plugins.join(name), plugins.join(name))?;
        }
        fs::write(
            folder.path().join("config.toml"),
            "[plugins.env]\nenv = { KEYWAY_ENV_SECRETS = \"demo/greeting=GREETING\", GREETING = \"hello from env\" }\n",
        )?;
        Ok(Self {
            keyway: programs.keyway.clone(),
            folder,
        })
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("daemon.sock")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.keyway);
        let path = self.folder.path();
        command
            .args(arguments)
            .env("HOME", path)
            .env("XDG_CONFIG_HOME", path.join("config"))
            .env("XDG_DATA_HOME", path.join("data"))
            .env("XDG_STATE_HOME", path.join("state"))
            .env("XDG_RUNTIME_DIR", path)
            .env("KEYWAY_SOCKET", self.socket())
            .env_remove("KEYWAY_FILE_STORE");
        command
    }

    /// Runs one command, prints it with its output, and returns its stdout.
    fn keyway(&self, arguments: &[&str], input: Option<&str>) -> Result<String> {
        let shown: Vec<String> = arguments.iter().map(|text| quoted(text)).collect();
        let shown = shown.join(" ");
        match input {
            Some(_) => println!("$ printf %s ... | keyway {shown}"),
            None => println!("$ keyway {shown}"),
        }
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.keyway.display()))?;
        let mut stdin = child.stdin.take().context("stdin is piped")?;
        stdin.write_all(input.unwrap_or_default().as_bytes())?;
        drop(stdin);
        let output = child.wait_with_output()?;
        let text = String::from_utf8(output.stdout)?;
        print!("{text}");
        if !text.is_empty() && !text.ends_with('\n') {
            println!();
        }
        if !output.status.success() {
            bail!("`keyway {shown}` ended with {}", output.status);
        }
        Ok(text)
    }

    fn start_daemon(&self) -> Result<Daemon> {
        say("start the daemon; it launches the plugins of its plugin directory");
        let folder = self.folder.path();
        let plugins = folder.join("plugins");
        let config = folder.join("config.toml");
        println!(
            "$ keyway serve --plugin-dir {} --config {}",
            plugins.display(),
            config.display()
        );
        let mut child = self
            .command(&["serve"])
            .arg("--plugin-dir")
            .arg(plugins)
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the daemon")?;
        let ready = echo_until_ready(&mut child)?;
        let daemon = Daemon(child);
        ready
            .recv_timeout(START_TIMEOUT)
            .context("the daemon did not report that it is ready")?;
        Ok(daemon)
    }
}

/// Prints the daemon's stderr from a thread, and sends a message when the daemon reports that it is ready.
fn echo_until_ready(child: &mut Child) -> Result<mpsc::Receiver<()>> {
    let stderr = child.stderr.take().context("stderr is piped")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            println!("  daemon: {line}");
            if line.contains("ready") {
                // The receiver is gone once the demo continues; later lines are only printed.
                let _ = sender.send(());
            }
        }
    });
    Ok(receiver)
}

/// The daemon's process; killed on drop.
struct Daemon(Child);

impl Daemon {
    fn stop(&mut self) -> Result<()> {
        say("stop the daemon");
        shell::run(
            Command::new("kill")
                .arg("-TERM")
                .arg(self.0.id().to_string()),
        )?;
        let status = self.0.wait()?;
        ensure!(status.success(), "the daemon ended with {status}");
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both calls fail after an orderly stop, because the process has been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
