//! Behaviour at a terminal: prompts, hidden input, binary values, Ctrl-C.

use std::process::Command;

use keyway_plugin_file::{Store, StoreConfig};
use keyway_test_support::require;
use rustix::process::{Signal, kill_process};

use crate::support::{Home, KEYWAY, Terminal, script};

/// Ends with 9 when SIGINT came once, and with 3 when it came twice.
const COUNT_INTERRUPTS: &str = "trap 'trap \"exit 3\" INT; n=0; while [ $n -lt 20 ]; do sleep 0.01; n=$((n+1)); done; exit 9' INT; echo ready; while :; do sleep 0.01; done";

#[test]
fn a_typed_value_is_not_shown_and_stored_without_its_line_break() {
    let home = Home::new();
    let mut terminal = Terminal::start(&home.keyway(["set", "web/token", "--store", "s"]));
    terminal.expect("not shown): ");
    terminal.press("pass word\n");
    let (status, screen) = terminal.end();
    assert!(status.success(), "{screen}");
    insta::assert_snapshot!(screen.replace(home.path().to_str().unwrap(), "HOME"), @"
    Value of web/token (not shown): 
    stored web/token (version 1, 9 bytes) in DIR
    ");
    assert_eq!(stored(&home), b"pass word");
}

#[test]
fn a_prompt_works_where_its_process_group_is_outside_the_pid_namespace() {
    let home = Home::new();
    let mut command = home.command("unshare");
    command.args(["--pid", "--fork"]);
    if !require::has_root() || !require::can_run("unshare --pid", command.arg("true")) {
        return;
    }
    let mut command = home.command("unshare");
    command.args([
        "--pid",
        "--fork",
        KEYWAY,
        "set",
        "web/token",
        "--store",
        "s",
    ]);
    let mut terminal = Terminal::start(&command);
    terminal.expect("not shown): ");
    terminal.press("pass word\n");
    let (status, screen) = terminal.end();
    assert!(status.success(), "{screen}");
    assert!(!screen.contains("pass word"), "{screen}");
    assert_eq!(stored(&home), b"pass word");
}

/// The current value of `web/token` in the store `s`.
fn stored(home: &Home) -> Vec<u8> {
    let store = Store::new(StoreConfig::new(home.join("s")));
    let stored = store.get(&"web/token".parse().unwrap()).unwrap();
    stored[0].value.expose().to_vec()
}

#[test]
fn a_value_that_was_not_typed_is_not_stored() {
    let home = Home::new();
    let mut terminal = Terminal::start(&home.keyway(["set", "web/token", "--store", "s"]));
    terminal.expect("not shown): ");
    terminal.press("\n");
    let (status, screen) = terminal.end();
    assert_eq!(status.code(), Some(1));
    insta::assert_snapshot!(screen, @"
    Value of web/token (not shown): 
    keyway: no value was entered.
    Nothing was stored; `keyway set web/token --allow-empty` stores an empty value.
    ");
    assert!(!home.join("s").exists());
}

#[test]
fn a_pasted_text_of_several_lines_is_refused() {
    let home = Home::new();
    let mut terminal = Terminal::start(&home.keyway(["set", "web/token", "--store", "s"]));
    terminal.expect("not shown): ");
    terminal.press("-----BEGIN\nabc\n-----END\n");
    let (status, screen) = terminal.end();
    assert_eq!(status.code(), Some(1));
    insta::assert_snapshot!(screen, @"
    Value of web/token (not shown): 
    keyway: more than one line was entered or pasted.
    Nothing was stored; put it into a file and run `keyway set web/token <FILE`.
    ");
    assert!(!home.join("s").exists());
}

#[test]
fn ctrl_c_at_the_prompt_restores_the_echo() {
    let home = Home::new();
    let mut terminal = Terminal::start(&home.keyway(["set", "web/token", "--store", "s"]));
    terminal.expect("not shown): ");
    assert!(!terminal.echoes());
    terminal.press("half a sec\x03");
    let status = terminal.wait();
    assert_eq!((status.code(), terminal.echoes()), (Some(128 + 2), true));
    let (_, screen) = terminal.end();
    assert_eq!(screen, "Value of web/token (not shown): \n");
    assert!(!home.join("s").exists());
}

#[test]
fn every_signal_that_ends_a_prompt_leaves_a_terminal_that_shows_what_is_typed() {
    // 34 and 64 are the first and the last real-time signal.
    for number in [1, 3, 10, 12, 14, 15, 24, 29, 30, 34, 64] {
        let home = Home::new();
        let mut prompt = Command::new("env");
        // The test itself may have been started with SIGHUP ignored, and a prompt respects that.
        prompt.args(["--default-signal", "--block-signal"]);
        prompt.args([KEYWAY, "set", "web/token", "--store", "s"]);
        prompt.current_dir(home.path());
        let mut terminal = Terminal::start(&prompt);
        terminal.expect("not shown): ");
        assert!(!terminal.echoes());
        let pid = terminal.pid().as_raw_nonzero();
        let kill = format!("kill -{number} {pid}");
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(terminal.wait().code(), Some(128 + number), "{number}");
        assert!(terminal.echoes(), "{number}");
    }
}

#[test]
fn a_typed_value_with_stray_keys_is_not_stored() {
    let home = Home::new();
    for keys in ["abc\x1b[Dd\n", "abc\td\n", "abc\x1b\n"] {
        let mut terminal = Terminal::start(&home.keyway(["set", "web/token", "--store", "s"]));
        terminal.expect("not shown): ");
        terminal.press(keys);
        let (status, screen) = terminal.end();
        assert_eq!(status.code(), Some(1));
        insta::allow_duplicates! {
            insta::assert_snapshot!(screen, @"
            Value of web/token (not shown): 
            keyway: a control character or an unsupported editing key was entered.
            Nothing was stored; enter the value again, or put it into a file and run `keyway set web/token <FILE`.
            ");
        }
        assert!(!home.join("s").exists());
    }
}

#[test]
fn a_typed_value_can_be_corrected_by_word() {
    let home = Home::new();
    let mut terminal = Terminal::start(&home.keyway(["set", "web/token", "--store", "s"]));
    terminal.expect("not shown): ");
    terminal.press("one two\x17three\n");
    let (status, screen) = terminal.end();
    assert!(status.success(), "{screen}");
    assert_eq!(stored(&home), b"one three");
}

#[test]
fn binary_values_are_not_printed_to_a_terminal_by_default() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    let (status, screen) = Terminal::start(&home.keyway(["get", "bin/key"])).end();
    assert_eq!(status.code(), Some(1));
    insta::assert_snapshot!(screen, @"
    keyway: the value of bin/key is not text, and could confuse the terminal.
    Write it to a file or a program with --value, or look at it with --json.
    ");
    let (status, screen) = Terminal::start(&home.keyway(["get", "web/token"])).end();
    assert_eq!((status.code(), screen.as_str()), (Some(0), "dummy-token\n"));
}

#[test]
fn a_child_reads_from_the_terminal() {
    let home = Home::new();
    let script = "read line; echo \"<$line>\"; read line </dev/tty; echo \"<$line>\"";
    let mut terminal = Terminal::start(&home.keyway(["run", "--", "sh", "-c", script]));
    terminal.press("one\n");
    terminal.expect("<one>");
    terminal.press("two\n");
    terminal.expect("<two>");
    assert_eq!(terminal.end().0.code(), Some(0));
}

#[test]
fn ctrl_c_reaches_the_child_once() {
    let home = Home::new();
    let mut terminal = Terminal::start(&home.keyway(["run", "--", "sh", "-c", COUNT_INTERRUPTS]));
    terminal.expect("ready");
    terminal.press("\x03");
    assert_eq!(terminal.end().0.code(), Some(9));
}

#[test]
fn an_interrupt_that_no_key_sent_reaches_the_child_once() {
    let home = Home::new();
    let mut terminal = Terminal::start(&home.keyway(["run", "--", "sh", "-c", COUNT_INTERRUPTS]));
    terminal.expect("ready");
    kill_process(terminal.pid(), Signal::INT).unwrap();
    assert_eq!(terminal.end().0.code(), Some(9));
}

#[test]
fn ctrl_c_ends_a_child_that_does_not_catch_it() {
    let home = Home::new();
    let mut terminal =
        Terminal::start(&home.keyway(["run", "--", "sh", "-c", "echo ready; exec sleep 1000"]));
    terminal.expect("ready");
    terminal.press("\x03");
    assert_eq!(terminal.end().0.code(), Some(128 + 2));
}

#[test]
fn ctrl_c_ends_a_pending_query() {
    use std::os::unix::process::ExitStatusExt as _;
    let home = Home::new();
    // The listener accepts the connection and never responds.
    let _listener = std::os::unix::net::UnixListener::bind(home.socket()).unwrap();
    let mut terminal = Terminal::start(&home.keyway(["get", "web/token"]));
    let (mut connection, _) = _listener.accept().unwrap();
    let mut first = [0];
    std::io::Read::read_exact(&mut connection, &mut first).unwrap();
    terminal.press("\x03");
    assert_eq!(terminal.end().0.signal(), Some(2));
}

#[test]
fn a_waiting_command_names_the_plugins_and_the_reason() {
    let home = Home::new();
    let (_daemon, held) = script::serve_held(&home);
    let line = "\r\x1b[Kkeyway: waiting for one (is starting) and two (is restarting)";
    let run = ["run", "--", "sh", "-c", "echo $TOKEN"];
    for arguments in [&["get", "x/held"][..], &run] {
        let mut command = home.keyway(arguments);
        command.env("TOKEN", "se://x/held");
        let mut terminal = Terminal::start(&command);
        terminal.expect(line);
        held.add_permits(1);
        let (status, screen) = terminal.end();
        assert!(status.success(), "{screen}");
        assert_eq!(
            screen,
            format!("{line}\r\x1b[Kdummy-held\n"),
            "{arguments:?}"
        );
    }
    for (action, printed) in [
        ("enable", "enabled held"),
        ("disable", "disabled held"),
        ("trust", "trusted held"),
        ("untrust", "no longer trusted: held"),
    ] {
        let mut terminal = Terminal::start(&home.keyway(["plugins", action, "held"]));
        terminal.expect(line);
        held.add_permits(1);
        let (status, screen) = terminal.end();
        assert!(status.success(), "{screen}");
        let printed = format!("{line}\r\x1b[K{printed}");
        assert!(screen.starts_with(&printed), "{screen}");
    }
    let json = home.keyway(["get", "x/late", "--json"]);
    let (_, screen) = Terminal::start(&json).end();
    assert!(screen.starts_with('{'), "{screen}");
    let output = home.run("get x/late", b"");
    assert_eq!(
        (output.stdout, output.stderr),
        (b"dummy-late\n".to_vec(), Vec::new())
    );
}

/// Runs `keyway` on a terminal with this many columns, and returns its screen.
fn at_width(home: &Home, columns: usize, line: &str) -> String {
    let script = format!("stty rows 24 cols {columns}; exec {KEYWAY} {line}");
    let mut command = home.command("sh");
    let (status, screen) = Terminal::start(command.args(["-c", &script])).end();
    assert!(status.success(), "{screen}");
    screen
}

#[test]
fn tables_and_help_fit_into_the_terminal() {
    let home = Home::new();
    let long = &format!("wide/{}", "x".repeat(60));
    home.set(long, b"dummy");
    let _daemon = home.serve(&[]);
    let whole = home.run("ls", b"");
    assert!(keyway_test_support::text(&whole.stdout).contains(long));
    for columns in [40, 80, 200] {
        for line in ["ls", "plugins", "run --help", "--help"] {
            let screen = at_width(&home, columns, line);
            for row in screen.lines() {
                // A word that does not fit is not broken.
                let is_word = !row.trim().contains(' ');
                assert!(row.len() <= columns || is_word, "{columns} {line}: {row}");
            }
        }
    }
    let narrow = at_width(&home, 40, "ls");
    insta::assert_snapshot!(narrow, @"
    ID                     PROVIDER  VERSION
    wide/xxxxxxxxxxxxx...  file      1
    ");
    assert!(at_width(&home, 200, "ls").contains(long));
    let help = at_width(&home, 200, "run --help");
    assert!(help.lines().all(|row| row.len() <= 120), "{help}");
    assert!(help.lines().any(|row| row.len() > 100), "{help}");
}
