//! `cargo xtask demo`: the whole path of one secret, with real processes, in a temporary home.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use clap::Args;
use keyway_test_support::{Daemon, feed};

use crate::workspace::Workspace;
use crate::{dist, shell};

/// Options of `cargo xtask demo`.
#[derive(Args)]
pub(crate) struct Options {}

/// The value that the demo stores and prints.
const VALUE: &str = "correct-horse-battery-staple";

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
    say("build the programs; the first time that takes some minutes");
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
    let home = Home::new(programs);
    let daemon = home.start_daemon()?;
    let outcome = walk(&home);
    say("stop the daemon");
    let (status, _) = daemon.stop();
    ensure!(status.success(), "the daemon ended with {status}");
    outcome?;
    let path = home.home.path().to_owned();
    drop(home);
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

    say("a second provider serves the variables of its configuration");
    let read = home.keyway(&["get", "demo/greeting"], None)?;
    ensure!(
        read.trim_end() == "hello from env",
        "the env plugin returned another value"
    );

    curl(home)?;

    say("run a program with the secret in its environment; the reference alone is in the file");
    home.home.write("demo.env", "PASSWORD=se://demo/password\n");
    let script = "echo \"the child sees $PASSWORD\"";
    let arguments = ["run", "--env-file", "demo.env", "--", "sh", "-c", script];
    let read = home.keyway(&arguments, None)?;
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
        .arg(home.home.socket())
        .args(["--header", "content-type: application/json"])
        .args(["--data", r#"{"pattern":"demo/password"}"#])
        .arg("http://localhost/resolver.v1.ResolverService/GetSecrets");
    println!(
        "$ curl --unix-socket {} -H 'content-type: application/json' -d '{{\"pattern\":\"demo/password\"}}' \\\n       http://localhost/resolver.v1.ResolverService/GetSecrets",
        home.home.socket().display()
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
    home: keyway_test_support::Home,
    keyway: PathBuf,
}

impl Home {
    fn new(programs: &Programs) -> Self {
        let home = keyway_test_support::Home::new();
        for (_, name) in dist::PLUGINS {
            home.install(programs.plugins.join(name), name);
        }
        home.write(
            "config.toml",
            "[plugins.env]\nenv = { KEYWAY_ENV_SECRETS = \"demo/greeting=GREETING\", GREETING = \"hello from env\" }\n",
        );
        Self {
            home,
            keyway: programs.keyway.clone(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.command(&self.keyway);
        command.args(arguments);
        command
    }

    /// Runs one command, prints it with its output, and returns its standard output.
    fn keyway(&self, arguments: &[&str], input: Option<&str>) -> Result<String> {
        let shown: Vec<String> = arguments.iter().map(|text| quoted(text)).collect();
        let shown = shown.join(" ");
        match input {
            Some(_) => println!("$ printf %s ... | keyway {shown}"),
            None => println!("$ keyway {shown}"),
        }
        let input = input.unwrap_or_default();
        let output = feed(&mut self.command(arguments), input.as_bytes());
        let text = String::from_utf8(output.stdout)?;
        print!("{text}{}", String::from_utf8_lossy(&output.stderr));
        if !text.is_empty() && !text.ends_with('\n') {
            println!();
        }
        ensure!(
            output.status.success(),
            "`keyway {shown}` ended with {}",
            output.status
        );
        Ok(text)
    }

    fn start_daemon(&self) -> Result<Daemon> {
        say("start the daemon; it launches the plugins of its plugin directory");
        let arguments = [
            "serve",
            "--plugin-dir",
            "plugins",
            "--config",
            "config.toml",
        ];
        println!("$ keyway {}", arguments.join(" "));
        let echo = |line: &str| println!("  daemon: {line}");
        Ok(Daemon::try_start(&mut self.command(&arguments), echo)?)
    }
}
