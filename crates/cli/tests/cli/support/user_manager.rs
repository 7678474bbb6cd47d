//! systemd as the manager of a user, on a machine that need not have been booted with it.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

use keyway_test_support::{Process, eventually, feed, process, require};

use super::Home;

/// Runs in namespaces of its own, so that neither `/run` nor abstract sockets nor processes of the machine are touched. The pid
/// namespace ends with its first process, the shell, and that one with `unshare`.
const START: &str = "
mount -t tmpfs tmpfs /run
# Its existence is what sd_booted(3) checks.
mkdir -p /run/systemd/system
for systemd in /usr/lib/systemd/systemd /lib/systemd/systemd; do
    if [ -x $systemd ]; then break; fi
done
if [ -n \"$WITH_JOURNAL\" ]; then
    mkdir -p /run/log /run/systemd/journal
    $(dirname $systemd)/systemd-journald 2>$XDG_RUNTIME_DIR/journald.log &
    # Services connect to it when they start.
    until [ -S /run/systemd/journal/socket ] && [ -S /run/systemd/journal/stdout ]; do sleep 0.05; done
fi
SYSTEMD_LOG_TARGET=console $systemd --user --unit=basic.target 2>$XDG_RUNTIME_DIR/systemd.log &
echo started
wait
";

/// A user manager whose home is that of a test. Dropped, it is killed with all its services.
pub(crate) struct UserManager<'a> {
    home: &'a Home,
    /// The pid of the first process of the namespaces.
    pid: i32,
    _unshare: Process,
}

/// Returns whether this machine can run [`UserManager`].
#[track_caller]
pub(crate) fn can_start() -> bool {
    let programs = ["systemctl", "unshare", "nsenter"];
    require::has_root()
        && programs.into_iter().all(require::has_program)
        && require::can_run(
            "namespaces",
            Command::new("unshare")
                .args(["--pid", "--fork", "--mount", "--cgroup", "--net", "true"]),
        )
}

impl<'a> UserManager<'a> {
    /// Starts it and waits until it runs.
    #[track_caller]
    pub(crate) fn start(home: &'a Home) -> Self {
        Self::start_with(home, &[])
    }

    /// Starts it with a journal, to which the services of the user write their logs.
    #[track_caller]
    pub(crate) fn start_with_journal(home: &'a Home) -> Self {
        Self::start_with(home, &[("WITH_JOURNAL", "1")])
    }

    #[track_caller]
    fn start_with(home: &'a Home, variables: &[(&str, &str)]) -> Self {
        let mut command = home.command("unshare");
        command
            .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["--mount", "--cgroup", "--net", "sh", "-c", START])
            .env("XDG_RUNTIME_DIR", home.create_dir("run"))
            .env_remove("KEYWAY_SOCKET")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped());
        keyway_test_support::set_mode(&home.join("run"), 0o700);
        let mut unshare = Process::spawn(&mut command);
        let mut line = String::new();
        let mut stdout = BufReader::new(unshare.stdout());
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "started\n", "the namespaces were made");
        let children = process::children(unshare.pid().as_raw_nonzero().get());
        let manager = Self {
            home,
            pid: *children.first().expect("the shell"),
            _unshare: unshare,
        };
        eventually("the manager runs", || {
            let state = manager.run(["systemctl", "--user", "is-system-running"]);
            match state.stdout == b"running\n" {
                true => Ok(()),
                false => Err(manager.home.show(&state)),
            }
        });
        manager
    }

    /// A command as a user of this manager runs it.
    pub(crate) fn command<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut command = self.home.command("nsenter");
        command
            .arg(format!("--target={}", self.pid))
            .args(["--pid", "--mount", "--cgroup", "--net", "--"])
            .args(arguments)
            .env("XDG_RUNTIME_DIR", self.home.join("run"))
            .env_remove("KEYWAY_SOCKET");
        command
    }

    /// Runs a command as a user of this manager does.
    pub(crate) fn run<const N: usize>(&self, arguments: [&str; N]) -> Output {
        feed(&mut self.command(arguments), b"")
    }

    /// Runs a command that must succeed, and returns its output.
    #[track_caller]
    pub(crate) fn succeed<const N: usize>(&self, arguments: [&str; N]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}\n{}",
            self.home.show(&output),
            self.log()
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// The property of a unit.
    #[track_caller]
    pub(crate) fn property(&self, unit: &str, property: &str) -> String {
        let property = format!("--property={property}");
        let value = self.succeed(["systemctl", "--user", "show", "--value", &property, unit]);
        value.trim_end().to_owned()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home.join("run/systemd.log")).unwrap_or_default()
    }
}
