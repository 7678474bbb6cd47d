//! `keyway export`: what other programs read from it, and where it writes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use keyway_test_support::{feed, require, text};

use crate::support::{Home, Terminal, script};

/// Values that every reader of env files must read alike.
const VALUES: [(&str, &str); 5] = [
    ("shop/plain", "not-a-real-token"),
    ("shop/spaces", "  a #b \"c\" $HOME `d` \\n \\ "),
    ("shop/quote", "it's"),
    ("shop/lines", "one\ntwo\n"),
    ("shop/empty", ""),
];

fn home_with_values() -> Home {
    let home = Home::new();
    for (id, value) in VALUES {
        let output = home.run(&format!("set --allow-empty {id}"), value.as_bytes());
        assert!(output.status.success(), "{}", home.show(&output));
    }
    home
}

#[test]
fn run_bash_and_node_read_an_env_file_alike() {
    let home = home_with_values();
    let exported = home.run("export shop/** -o shop.env", b"");
    assert!(exported.status.success(), "{}", home.show(&exported));
    assert_eq!(
        home.join("shop.env")
            .metadata()
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    let expected: String = VALUES
        .iter()
        .map(|(_, value)| format!("<{value}>"))
        .collect();
    let print = "printf '<%s>' \"$PLAIN\" \"$SPACES\" \"$QUOTE\" \"$LINES_\" \"$EMPTY\"";
    let print = print.replace("LINES_", "LINES");
    let mut run = home.keyway(["run", "--env-file", "shop.env", "--", "sh", "-c", &print]);
    assert_eq!(text(&feed(&mut run, b"").stdout), expected);
    for shell in ["bash", "dash"] {
        if require::has_program(shell) {
            let mut command = home.command(shell);
            command.args(["-c", &format!("set -a; . ./shop.env; {print}")]);
            assert_eq!(text(&feed(&mut command, b"").stdout), expected, "{shell}");
        }
    }
    if require::has_program("node") {
        let mut node = home.command("node");
        let script = "for (const n of ['PLAIN','SPACES','QUOTE','LINES','EMPTY']) process.stdout.write('<' + process.env[n] + '>')";
        node.args(["--env-file=shop.env", "-e", script]);
        assert_eq!(text(&feed(&mut node, b"").stdout), expected);
    }
}

#[test]
fn a_shell_evaluates_every_value() {
    let home = home_with_values();
    home.set("shop/hard", b"a'b\"$c\\`\r\xff");
    let exported = home.run("export shop/** --format shell", b"");
    home.write("x.sh", &exported.stdout);
    let mut sh = home.command("sh");
    sh.args(["-c", ". ./x.sh; printf %s \"$HARD$QUOTE\""]);
    assert_eq!(feed(&mut sh, b"").stdout, b"a'b\"$c\\`\r\xffit's");
}

#[test]
fn the_daemons_secrets_are_exported_if_one_runs() {
    let home = home_with_values();
    let direct = home.run("export shop/plain", b"");
    let _daemon = home.serve(&[]);
    let resolved = home.run("export shop/plain", b"");
    assert_eq!(
        text(&direct.stdout),
        "# se://shop/plain\nPLAIN='not-a-real-token'\n"
    );
    assert_eq!((resolved.stdout, resolved.stderr.len()), (direct.stdout, 0));
    assert!(text(&direct.stderr).contains("no daemon runs"));
    let json = home.run("export shop/plain --json", b"");
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["secrets"][0]["value"], "not-a-real-token");
}

#[test]
fn the_file_store_does_not_stand_in_for_a_daemon_that_is_named_or_foreign() {
    let home = home_with_values();
    let named = home.run("export --socket no/such", b"");
    let _daemon = home.serve(&[]);
    let foreign = home.run("export --daemon-uid 12345", b"");
    for output in [named, foreign] {
        let shown = home.show(&output);
        assert_eq!(output.status.code(), Some(5), "{shown}");
        assert!(output.stdout.is_empty(), "{shown}");
    }
}

#[test]
fn an_export_is_complete_or_an_error() {
    let home = Home::new();
    home.set("shop/a-b", b"dummy");
    home.set("shop/a.b", b"dummy");
    home.set("shop/binary", b"\xff\0");
    home.write("there", "kept");
    let mut shown = home.transcript(&[
        "export",
        "export no/**",
        "export shop/a-b -o there",
        "export shop/a-b -o no/such",
    ]);
    let _daemon = script::serve(&home);
    shown += &home.transcript(&["export denied/id", "export broken/id", "export twice/id"]);
    insta::assert_snapshot!(shown);
    assert_eq!(fs::read_to_string(home.join("there")).unwrap(), "kept");
}

#[test]
fn a_terminal_gets_values_only_with_an_option() {
    let home = home_with_values();
    let (status, screen) = Terminal::start(&home.keyway(["export"])).end();
    assert_eq!(status.code(), Some(2));
    assert!(
        !screen.contains("real") && screen.contains("--show"),
        "{screen}"
    );
    let (status, screen) = Terminal::start(&home.keyway(["export", "shop/plain", "--show"])).end();
    assert!(
        status.success() && screen.contains("PLAIN='not-a-real-token'"),
        "{screen}"
    );
}

#[test]
fn an_export_is_imported_by_another_machine() {
    let home = home_with_values();
    home.set("web/port", b"3000");
    assert!(home.run("export -o all.env", b"").status.success());
    let other = Home::new();
    other.write("all.env", fs::read(home.join("all.env")).unwrap());
    let output = other.run("import --yes all.env", b"");
    assert!(output.status.success(), "{}", other.show(&output));
    let _daemon = other.serve(&[]);
    for (id, value) in VALUES {
        assert_eq!(
            text(&other.run(&format!("get --value {id}"), b"").stdout),
            value
        );
    }
    assert_eq!(text(&other.run("get --value web/port", b"").stdout), "3000");
}
