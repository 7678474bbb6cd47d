//! Other programs of the same user cannot look into the daemon and its plugins.

use std::process::{Command, Output};

use keyway_test_support::process::{children, stat};
use keyway_test_support::{Home, feed, require, set_mode, text};

use crate::evidence::contains_canary;
use crate::{prepare, serve};

/// A user without any rights.
const UID: &str = "64124";

fn wrapper() -> [String; 4] {
    [
        "setpriv".into(),
        format!("--reuid={UID}"),
        format!("--regid={UID}"),
        "--clear-groups".into(),
    ]
}

/// Runs a program as the user of the daemon.
fn as_user(home: &Home, line: &[&str]) -> Output {
    let [program, arguments @ ..] = wrapper();
    let mut command = home.command(program);
    command.args(arguments).args(line);
    feed(&mut command, b"")
}

#[test]
fn the_memory_of_daemon_and_plugins_is_closed_to_their_own_user() {
    let home = Home::new();
    set_mode(home.path(), 0o755);
    if !require::can_run(
        "setpriv as root",
        home.command("setpriv").arg("--reuid=64124").arg("true"),
    ) {
        return;
    }
    let keyway = prepare(&home);
    let owned = Command::new("chown")
        .args(["-R", &format!("{UID}:{UID}")])
        .arg(home.path())
        .status();
    assert!(owned.expect("chown").success());
    let wrapper = wrapper();
    let daemon = serve(&home, &keyway, &wrapper.each_ref().map(String::as_str));
    let keyway = keyway.to_str().expect("a path");
    let output = as_user(&home, &[keyway, "get", "vault/held"]);
    assert!(contains_canary(&output.stdout), "{output:?}");
    let daemon_pid = daemon.id().cast_signed();
    let plugins = children(daemon_pid);
    let plugins = plugins
        .into_iter()
        .filter(|pid| stat(*pid).is_some_and(|stat| stat.name == "vault"));
    let pids: Vec<i32> = plugins.chain([daemon_pid]).collect();
    assert_eq!(pids.len(), 2, "the plugin and the daemon");
    for pid in pids {
        for file in ["mem", "environ", "maps", "fd/0", "exe", "root"] {
            let path = format!("/proc/{pid}/{file}");
            // A link is followed only with the permission to inspect the process.
            let line = ["head", "-c", "1", &path];
            let output = as_user(&home, &line);
            // With the mount option `hidepid` the process is not even visible.
            let message = text(&output.stderr);
            let refusals = ["Permission denied", "No such file or directory"];
            assert!(
                refusals.iter().any(|refusal| message.contains(refusal)),
                "{path}: {output:?}"
            );
            assert!(stat(pid).is_some(), "the process runs");
        }
    }
    // The same look at a process of the user that is not protected succeeds.
    let line = ["sh", "-c", "head -c 1 /proc/$$/environ"];
    assert_eq!(as_user(&home, &line).stdout.len(), 1);
    daemon.stop();
}
