//! `keyway service`: the units of systemd.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use keyway_test_support::{Daemon, copy_executable, eventually, feed, require, set_mode};

use crate::support::user_manager::{self, UserManager};
use crate::support::{Home, KEYWAY};

/// A home with a `systemctl` and a `loginctl` that record their arguments.
struct Recorded(Home);

/// Answers as a manager does for which `ACTIVE`, `ENABLED`, `PID`, `MANAGER`, `NO_BUS` and `FAIL` say what it finds.
const SYSTEMCTL: &str = r#"#!/bin/sh
echo "$@" >>"$HOME/calls"
if [ -n "$NO_BUS" ]; then echo "$NO_BUS" >&2; exit 1; fi
case "$*" in
*--property=UnitPath*) echo "$HOME/.config/systemd/user $HOME/packages" ;;
*show-environment*) echo "{$MANAGER}" ;;
*" show "*) printf 'ActiveState=%s\nUnitFileState=%s\nMainPID=%s\n' "$ACTIVE" "$ENABLED" "${PID:-0}" ;;
*) if [ -n "$FAIL" ]; then echo "$FAIL" >&2; exit 1; fi ;;
esac
"#;

const LOGINCTL: &str = "#!/bin/sh\necho \"$LINGER\"\n";

impl Recorded {
    fn new() -> Self {
        let home = Home::new();
        for (name, script) in [("systemctl", SYSTEMCTL), ("loginctl", LOGINCTL)] {
            let path = home.write(format!("bin/{name}"), script);
            set_mode(&path, 0o755);
        }
        Self(home)
    }

    fn run(&self, line: &str, variables: &[(&str, &str)]) -> Output {
        let mut command = self.0.keyway(line.split_whitespace());
        command
            .env("PATH", self.0.search_path())
            .env("ACTIVE", "inactive")
            .env("LINGER", "no")
            .envs(variables.iter().copied());
        feed(&mut command, b"")
    }

    /// The output of a line, and the calls of systemctl that it made besides those that only read.
    fn transcript(&self, line: &str, variables: &[(&str, &str)]) -> String {
        let output = self.0.show(&self.run(line, variables));
        let calls = fs::read_to_string(self.0.join("calls")).unwrap_or_default();
        let calls: String = calls
            .lines()
            .filter(|call| !call.contains(" show"))
            .map(|call| format!("> systemctl {call}\n"))
            .collect();
        let _ = fs::remove_file(self.0.join("calls"));
        format!("$ keyway {line}\n{output}{calls}\n")
    }

    fn unit(&self, name: &str) -> std::path::PathBuf {
        self.0.join(".config/systemd/user").join(name)
    }
}

#[test]
fn install_writes_both_units_enables_the_socket_and_uninstall_removes_them() {
    let home = Recorded::new();
    home.0.set("web/token", b"dummy");
    home.0.configure("");
    let active = [
        ("ACTIVE", "active"),
        ("ENABLED", "enabled"),
        ("PID", "4711"),
    ];
    let mut text = home.transcript("service status", &[]);
    text += &home.transcript("service install", &[]);
    text += &home.transcript("service status", &active);
    text += &home.transcript("service install --json", &[("LINGER", "yes")]);
    text += &home.transcript("service uninstall", &[]);
    text += &home.transcript("service uninstall --json", &[]);
    insta::assert_snapshot!(text);
    for name in ["keyway.socket", "keyway.service"] {
        assert!(!home.unit(name).exists());
    }
}

#[test]
fn an_outdated_unit_is_replaced_and_the_daemon_restarted() {
    let home = Recorded::new();
    home.run("service install", &[]);
    let socket = home.unit("keyway.socket");
    assert_eq!(
        fs::metadata(&socket).unwrap().permissions().mode() & 0o777,
        0o644
    );
    let marker = fs::read_to_string(&socket)
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .to_owned();
    fs::write(&socket, format!("{marker}\n[Socket]\n")).unwrap();
    let active = [
        ("ACTIVE", "active"),
        ("ENABLED", "enabled"),
        ("PID", "4711"),
    ];
    let _ = fs::remove_file(home.0.join("calls"));
    let mut text = home.transcript("service status --json", &active);
    text += &home.transcript("service install", &active);
    insta::assert_snapshot!(text);
}

#[test]
fn doctor_finds_an_outdated_unit_a_missing_passphrase_and_a_session_that_ends() {
    let home = Recorded::new();
    home.run("service install", &[]);
    let service = home.unit("keyway.service");
    let outdated = fs::read_to_string(&service).unwrap() + "# outdated\n";
    fs::write(&service, outdated).unwrap();
    home.0.write(".local/share/keyway/identity.age", "");
    set_mode(&home.0.join(".local/share/keyway"), 0o700);
    let daemon = home.0.serve(&[]);
    let output = home.run("doctor", &[("ENABLED", "disabled")]);
    daemon.stop();
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(home.0.show(&output));
}

#[test]
fn a_unit_of_another_author_is_left_alone() {
    let home = Recorded::new();
    let own = "[Service]\nExecStart=/opt/keyway serve\n";
    home.0.write(".config/systemd/user/keyway.service", own);
    let text = home.transcript("service install", &[]) + &home.transcript("service uninstall", &[]);
    insta::assert_snapshot!(text);
    assert_eq!(
        fs::read_to_string(home.unit("keyway.service")).unwrap(),
        own
    );
    assert!(!home.unit("keyway.socket").exists());
}

#[test]
fn a_daemon_that_systemd_did_not_start_is_in_the_way() {
    let home = Recorded::new();
    let daemon = home.0.serve(&[]);
    let pid = daemon.id().to_string();
    let refused = home.transcript("service install", &[]).replace(&pid, "PID");
    insta::assert_snapshot!(refused);
    assert!(!home.unit("keyway.socket").exists());
    // As a service whose socket unit was stopped.
    let installed = home.run("service install", &[("PID", &pid)]);
    assert!(installed.status.success(), "{}", home.0.show(&installed));
    daemon.stop();
}

#[test]
fn what_systemctl_reports_is_shown_with_what_to_do() {
    let home = Recorded::new();
    let no_bus = [("NO_BUS", "Failed to connect to bus: No medium found")];
    let uid = rustix::process::geteuid().as_raw();
    let text = home.transcript("service install", &no_bus);
    assert!(!home.unit("keyway.socket").exists());
    let masked = [(
        "FAIL",
        "Failed to enable unit: Unit file keyway.socket is masked.",
    )];
    let text = text + &home.transcript("service install", &masked);
    fs::remove_file(home.0.join("bin/systemctl")).unwrap();
    let mut without = Command::new(KEYWAY);
    without
        .args(["service", "install"])
        .env_clear()
        .env("HOME", home.0.path())
        .env("PATH", home.0.join("empty"));
    let without = feed(&mut without, b"");
    let text = text + &home.0.show(&without);
    insta::assert_snapshot!(text.replace(&format!("/run/user/{uid}."), "/run/user/UID."));
}

/// Writes units as a package has them, of which the service runs this program.
fn add_package(home: &Home, directory: &str, program: &str) {
    for name in ["keyway.socket", "keyway.service"] {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/commands/service/");
        let unit = fs::read_to_string(format!("{source}{name}")).unwrap();
        let unit = unit.replace("/usr/bin/keyway", program);
        home.write(format!("{directory}/{name}"), unit);
    }
}

#[test]
fn the_units_of_a_package_are_used_if_they_run_this_program() {
    let home = Recorded::new();
    home.run("service install", &[]);
    let _ = fs::remove_file(home.0.join("calls"));
    add_package(&home.0, "packages", KEYWAY);
    let mut text = home.transcript("service install", &[]);
    assert!(!home.unit("keyway.socket").exists() && !home.unit("keyway.service").exists());
    text += &home.transcript("service install --json", &[]);
    let active = [
        ("ACTIVE", "active"),
        ("ENABLED", "enabled"),
        ("PID", "4711"),
    ];
    text += &home.transcript("service status", &active);
    text += &home.transcript("service uninstall", &active);
    insta::assert_snapshot!(text);
    assert!(home.0.join("packages/keyway.socket").exists());
}

#[test]
fn the_units_of_a_package_with_another_program_give_way() {
    let home = Recorded::new();
    add_package(&home.0, "packages", "/nonexistent/keyway");
    insta::assert_snapshot!(home.transcript("service install", &[]));
    assert!(home.unit("keyway.socket").exists());
}

#[test]
fn the_service_gets_the_directories_of_the_shell_that_systemd_does_not_know() {
    let home = Recorded::new();
    let store = home.0.join("my store");
    let data = home.0.join("data");
    let shell = [
        ("KEYWAY_FILE_STORE", store.to_str().unwrap()),
        ("XDG_DATA_HOME", data.to_str().unwrap()),
        ("XDG_STATE_HOME", "relative"),
    ];
    let of_manager = format!("\"XDG_DATA_HOME\":\"{}\"", data.display());
    let with_manager = [&shell[..], &[("MANAGER", &of_manager)]].concat();
    let mut text = home.transcript("service install", &with_manager);
    let drop_in = fs::read_to_string(home.unit("keyway.service.d/environment.conf")).unwrap();
    text += &drop_in.replace(home.0.path().to_str().unwrap(), "HOME");
    text += &home.transcript("service install", &[]);
    text += &home.transcript("service status", &shell);
    text += &home.transcript("service install", &shell);
    let doctor = home
        .0
        .show(&home.run("doctor --verbose", &[("XDG_CONFIG_HOME", "/other")]));
    let mut lines = doctor.lines();
    text += lines
        .find(|line| line.contains("variables of the service"))
        .unwrap();
    text += &format!("\n{}", home.transcript("service uninstall", &[]));
    insta::assert_snapshot!(text);
    assert!(!home.unit("keyway.service.d").exists());
}

#[test]
fn a_program_that_was_replaced_runs_after_the_installation() {
    let home = Recorded::new();
    let program = home.0.join("keyway");
    copy_executable(KEYWAY, &program);
    let daemon = Daemon::start(home.0.command(&program).arg("serve"));
    let pid = daemon.id().to_string();
    let active = [("ACTIVE", "active"), ("ENABLED", "enabled"), ("PID", &pid)];
    let install = |home: &Recorded| {
        let output = home.run("service install", &active);
        assert!(output.status.success(), "{}", home.0.show(&output));
        let calls = fs::read_to_string(home.0.join("calls")).unwrap();
        fs::remove_file(home.0.join("calls")).unwrap();
        calls.contains("try-restart")
    };
    assert!(install(&home), "the units were written");
    assert!(!install(&home), "nothing has changed");
    fs::remove_file(&program).unwrap();
    assert!(install(&home), "the daemon runs another program");
    daemon.stop();
}

#[test]
fn systemd_accepts_the_units_for_a_program_with_any_path() {
    if !require::has_program("systemd-analyze") {
        return;
    }
    let home = Recorded::new();
    let directory = home.0.create_dir("a b/50%/$HOME");
    let program = directory.join("keyway");
    copy_executable(KEYWAY, &program);
    let mut install = home.0.command(&program);
    install
        .args(["service", "install"])
        .env("PATH", home.0.search_path())
        .env("ACTIVE", "inactive");
    let installed = feed(&mut install, b"");
    assert!(installed.status.success(), "{}", home.0.show(&installed));
    let verified = Command::new("systemd-analyze")
        .args(["--user", "--man=no", "--recursive-errors=no", "verify"])
        .args([home.unit("keyway.socket"), home.unit("keyway.service")])
        .env("XDG_RUNTIME_DIR", home.0.create_dir("run"))
        .output()
        .unwrap();
    assert!(
        verified.status.success() && verified.stderr.is_empty(),
        "{}",
        home.0.show(&verified)
    );
}

#[test]
fn under_a_real_user_manager_the_first_request_starts_the_daemon_and_a_killed_one_is_back() {
    if !user_manager::can_start() {
        return;
    }
    let home = Home::new();
    // A path that systemd has to unquote.
    let program = home.create_dir("50% of $HOME").join("keyway");
    copy_executable(KEYWAY, &program);
    let keyway = program.to_str().unwrap();
    home.set("web/token", b"not-a-real-token");
    let systemd = UserManager::start(&home);
    systemd.succeed([keyway, "service", "install"]);
    assert!(home.join("run/keyway/daemon.sock").exists());
    let pid = || systemd.property("keyway.service", "MainPID");
    assert_eq!(pid(), "0");
    let second = home.show(&systemd.run([keyway, "serve"]));
    assert!(
        second.contains("daemon.sock is in use by a socket unit of systemd.\n"),
        "{second}"
    );
    assert!(
        second.contains("`systemctl --user stop keyway.socket`"),
        "{second}"
    );
    let get = || systemd.succeed([keyway, "get", "--value", "web/token"]);
    assert_eq!(get(), "not-a-real-token");
    let first = pid();
    assert_ne!(first, "0");
    assert_eq!(
        systemd.property("keyway.service", "StatusText"),
        "1 plugin running"
    );
    systemd.succeed(["systemctl", "--user", "reload", "keyway.service"]);
    assert_eq!(pid(), first);
    home.configure("audit = 5");
    let reload = systemd.run(["systemctl", "--user", "reload", "keyway.service"]);
    assert!(!reload.status.success(), "the configuration is wrong");
    fs::remove_file(home.join(".config/keyway/config.toml")).unwrap();
    systemd.succeed(["kill", "-KILL", &first]);
    eventually("another daemon runs", || {
        let pid = pid();
        match pid != "0" && pid != first {
            true => Ok(()),
            false => Err(pid),
        }
    });
    assert_eq!(get(), "not-a-real-token");
    let before = pid();
    systemd.succeed([keyway, "service", "install"]);
    assert_eq!(pid(), before, "the units were current");
    let socket = home.join(".config/systemd/user/keyway.socket");
    let outdated = fs::read_to_string(&socket).unwrap() + "# outdated\n";
    fs::write(&socket, outdated).unwrap();
    systemd.succeed([keyway, "service", "install"]);
    assert_ne!(pid(), before, "the units were outdated");
    assert_eq!(get(), "not-a-real-token");
    systemd.succeed(["systemctl", "--user", "stop", "keyway.service"]);
    assert_eq!(get(), "not-a-real-token");
    let status = systemd.succeed([keyway, "service", "status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["pid"].to_string(), pid());
    assert_eq!(status["units"][0]["active"], "active");
    systemd.succeed([keyway, "stop"]);
    systemd.succeed([keyway, "service", "uninstall"]);
    assert!(!home.join("run/keyway/daemon.sock").exists());
    assert_eq!(systemd.property("keyway.socket", "LoadState"), "not-found");
}

#[test]
fn under_a_real_user_manager_units_of_a_package_and_directories_of_the_shell_are_used() {
    if !user_manager::can_start() {
        return;
    }
    let home = Home::new();
    let program = home.create_dir("bin").join("keyway");
    copy_executable(KEYWAY, &program);
    let keyway = program.to_str().unwrap();
    let store = home.join("50% of it");
    let mut set = home.keyway(["set", "web/token"]);
    let stored = feed(set.env("KEYWAY_FILE_STORE", &store), b"not-a-real-token");
    assert!(stored.status.success(), "{}", home.show(&stored));
    let systemd = UserManager::start(&home);
    // Units of this program are there before those of the package.
    systemd.succeed([keyway, "service", "install"]);
    add_package(&home, ".local/share/systemd/user", keyway);
    let store = format!("KEYWAY_FILE_STORE={}", store.display());
    systemd.succeed(["env", &store, keyway, "service", "install"]);
    let unit = home.join(".local/share/systemd/user/keyway.socket");
    assert_eq!(
        systemd.property("keyway.socket", "FragmentPath"),
        unit.to_str().unwrap()
    );
    assert!(!home.join(".config/systemd/user/keyway.socket").exists());
    let get = || systemd.succeed([keyway, "get", "--value", "web/token"]);
    assert_eq!(get(), "not-a-real-token");
    let before = systemd.property("keyway.service", "MainPID");
    let fresh = home.join("fresh");
    copy_executable(KEYWAY, &fresh);
    fs::rename(&fresh, &program).unwrap();
    let version = systemd.succeed([keyway, "version"]);
    assert!(version.contains("was replaced"), "{version}");
    systemd.succeed([keyway, "service", "install"]);
    assert_ne!(systemd.property("keyway.service", "MainPID"), before);
    assert_eq!(get(), "not-a-real-token");
    systemd.succeed([keyway, "service", "uninstall"]);
    assert_eq!(systemd.property("keyway.socket", "ActiveState"), "inactive");
    assert_eq!(
        systemd.property("keyway.socket", "UnitFileState"),
        "disabled"
    );
    assert!(unit.exists());
}
