//! `keyway store`, and `get --version`: the files of the file store, beside a daemon and without one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use keyway_test_support::{feed, text};

use crate::support::{Home, Terminal};

/// Runs lines with an input, and returns each with its output, without times.
fn transcript(home: &Home, lines: &[(&str, &str)]) -> String {
    let lines = lines.iter().map(|(line, stdin)| {
        let output = home.run(line, stdin.as_bytes());
        format!(
            "$ printf {stdin:?} | keyway {line}\n{}\n",
            without_times(&home.show(&output))
        )
    });
    lines.collect()
}

/// The second restore in the same second has a name of its own, which becomes that of the first one. Replaces times such as `2026-11-30T12:00:00Z` and `20261130T120000Z`.
fn without_times(text: &str) -> String {
    let shapes = ["dddd-dd-ddTdd:dd:ddZ", "ddddddddTddddddZ"];
    let is_at = |text: &str, shape: &str| {
        text.len() >= shape.len()
            && shape
                .bytes()
                .zip(text.bytes())
                .all(|(shape, byte)| match shape {
                    b'd' => byte.is_ascii_digit(),
                    shape => byte == shape,
                })
    };
    let (mut result, mut rest) = (String::new(), text);
    while let Some(first) = rest.chars().next() {
        match shapes.iter().find(|shape| is_at(rest, shape)) {
            Some(shape) => {
                result.push_str("TIME");
                rest = &rest[shape.len()..];
            }
            None => {
                result.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    result.replace("replaced-TIME-2", "replaced-TIME")
}

#[track_caller]
fn run(home: &Home, line: &str, stdin: &str) -> String {
    let output = home.run(line, stdin.as_bytes());
    assert!(output.status.success(), "{line}: {}", home.show(&output));
    text(&output.stdout)
}

#[track_caller]
fn expect_code(home: &Home, line: &str, stdin: &str, code: i32) -> String {
    let output = home.run(line, stdin.as_bytes());
    assert_eq!(
        output.status.code(),
        Some(code),
        "{line}: {}",
        home.show(&output)
    );
    assert!(output.stdout.is_empty(), "{line}: {}", home.show(&output));
    text(&output.stderr)
}

#[test]
fn what_the_commands_of_the_store_say() {
    let home = Home::new();
    insta::assert_snapshot!(transcript(
        &home,
        &[
            ("store backup b", ""),
            ("store rekey", ""),
            ("store restore b", ""),
            ("set web/token", "dummy-1"),
            ("set web/token", "dummy-2"),
            ("store backup b", ""),
            ("store backup b", ""),
            ("store backup b --force --json", ""),
            ("store backup no/such/b", ""),
            ("store restore b --dry-run", ""),
            ("store restore b --dry-run --json", ""),
            ("store restore b", ""),
            ("store restore .", ""),
            ("store restore b --identity no/such", ""),
            ("store restore b --store other", ""),
            ("store rekey --keep-old old", ""),
            ("store rekey --keep-old old", ""),
            ("store rekey --json", ""),
            ("store restore b", ""),
            ("store restore b --identity old", ""),
            ("store passphrase --remove", ""),
            ("store passphrase", ""),
            ("store passphrase", "one\n"),
            ("get web/token --version 1", ""),
            ("store backup p", ""),
            ("store passphrase", "wrong\ntwo\n"),
            ("store passphrase --json", "one\ntwo\n"),
            ("store rekey", "one\n"),
            ("store rekey", "two\n"),
            ("store restore p --store new", "wrong\n"),
            ("store restore p --store new", "one\n"),
            ("store passphrase --remove", "two\n"),
            ("store passphrase --passphrase-fd 77", ""),
            ("store", ""),
        ]
    ));
}

#[test]
fn an_earlier_version_is_read_from_the_file_store_with_a_note() {
    let home = Home::new();
    home.set("web/token", b"dummy-1");
    home.set("web/token", b"dummy-2\n");
    let _daemon = home.serve(&[]);
    insta::assert_snapshot!(transcript(
        &home,
        &[
            ("get web/token --version 1", ""),
            ("get web/token --version 2 --value", ""),
            ("get web/token --version 1 --json", ""),
            ("get web/token --version 3", ""),
            ("get web/token --version latest", ""),
            ("get web/none --version 1", ""),
            ("get web/* --version 1", ""),
            ("get web/token --version 1 --store other", ""),
            ("get web/token --store other", ""),
        ]
    ));
    run(&home, "rm web/token --yes", "");
    assert_eq!(run(&home, "get web/token --version 1", ""), "dummy-1\n");
}

/// The running plugin reads the restored store, with the new key, without a restart.
#[test]
fn a_daemon_goes_on_while_its_store_is_restored_and_gets_a_new_key() {
    let home = Home::new();
    let _daemon = home.serve(&[]);
    run(&home, "set web/token", "dummy-1");
    run(&home, "store backup b", "");
    let backup = home.join("b");
    assert_eq!(
        fs::metadata(&backup).unwrap().permissions().mode() & 0o777,
        0o600
    );
    run(&home, "set web/token", "dummy-2");
    assert_eq!(run(&home, "get web/token", ""), "dummy-2\n");

    run(&home, "store restore b", "");
    assert_eq!(run(&home, "get web/token", ""), "dummy-1\n");
    run(&home, "set web/token", "dummy-3");

    let key = home.join(".local/share/keyway/identity.txt");
    let before = fs::read(&key).unwrap();
    run(&home, "store rekey", "");
    assert_ne!(fs::read(&key).unwrap(), before);
    assert_eq!(run(&home, "get web/token", ""), "dummy-3\n");
    run(&home, "set web/token", "dummy-4");
    assert_eq!(run(&home, "get web/token", ""), "dummy-4\n");
}

#[test]
fn a_daemon_without_the_passphrase_is_locked_until_its_configuration_names_it() {
    let home = Home::new();
    let config = home.join("config.toml");
    fs::write(&config, "").unwrap();
    let _daemon = home.serve(&["--config", config.to_str().unwrap()]);
    run(&home, "set web/token", "dummy");
    run(&home, "store passphrase", "first\n");
    let message = expect_code(&home, "get web/token", "", 6);
    assert!(
        message.starts_with("keyway: file is locked.\n"),
        "{message}"
    );
    assert!(message.contains("KEYWAY_FILE_PASSPHRASE_FILE"), "{message}");
    expect_code(&home, "set web/token", "dummy", 6);

    let passphrase = home.join("passphrase");
    let write = |text: &str| {
        fs::write(&passphrase, text).unwrap();
        fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("first\n");
    let env = format!(
        "[plugins.file]\nenv = {{ KEYWAY_FILE_PASSPHRASE_FILE = '{}' }}\n",
        passphrase.display()
    );
    fs::write(&config, env).unwrap();
    run(&home, "plugins reload", "");
    assert_eq!(run(&home, "get web/token", ""), "dummy\n");

    // A new passphrase, which the file does not have yet.
    run(&home, "store passphrase", "first\nsecond\n");
    let message = expect_code(&home, "get web/token", "", 6);
    assert!(
        message.contains("put the right passphrase on the first line"),
        "{message}"
    );
    write("second\n");
    assert_eq!(run(&home, "get web/token", ""), "dummy\n");
    run(&home, "store rekey", "second\n");
    assert_eq!(run(&home, "get web/token", ""), "dummy\n");
}

#[test]
fn a_wrong_or_missing_passphrase_ends_with_6_and_is_not_repeated() {
    let home = Home::new();
    run(&home, "set web/token", "dummy");
    run(&home, "store passphrase", "first\n");
    for (line, stdin) in [
        ("store rekey", "canary-wrong\n"),
        ("store passphrase", "canary-wrong\ncanary-new\n"),
        ("store passphrase --remove", "canary-wrong\n"),
        ("store rekey", ""),
        ("store passphrase", "first\n"),
        ("get web/token --version 1", ""),
        ("set web/token --store .local/share/keyway", "canary-value"),
    ] {
        let message = expect_code(&home, line, stdin, 6);
        assert!(!message.contains("canary"), "{line}: {message}");
    }
    let wrong = home.join("passphrases");
    fs::write(&wrong, "canary-wrong\n").unwrap();
    let line = format!(
        "exec \"$K\" store rekey --passphrase-fd 3 3<{}",
        wrong.display()
    );
    let shell = |line: &str| -> Output {
        let mut command = home.command("sh");
        command.args(["-c", line]).env("K", crate::support::KEYWAY);
        feed(&mut command, b"")
    };
    assert_eq!(shell(&line).status.code(), Some(6));
    fs::write(&wrong, "first\n").unwrap();
    let output = shell(&line);
    assert!(output.status.success(), "{}", home.show(&output));
}

#[test]
fn passphrases_are_entered_without_an_echo_and_a_new_one_twice() {
    let home = Home::new();
    home.run("set web/token --store s", b"dummy");
    let start = |words: &[&str]| {
        let words = [&["store"], words, &["--store", "s"]].concat();
        Terminal::start(&home.keyway(&words))
    };
    let mut terminal = start(&["passphrase"]);
    terminal.expect("New passphrase of the store (not shown): ");
    terminal.press("canary one\n");
    terminal.expect("The same again: ");
    terminal.press("canary two\n");
    let (status, screen) = terminal.end();
    assert_eq!(status.code(), Some(1), "{screen}");
    assert!(
        screen.contains("both passphrases differ") && !screen.contains("canary"),
        "{screen}"
    );

    let mut terminal = start(&["passphrase"]);
    for question in [
        "New passphrase of the store (not shown): ",
        "The same again: ",
    ] {
        terminal.expect(question);
        terminal.press("canary one\n");
    }
    let (status, screen) = terminal.end();
    assert!(status.success() && !screen.contains("canary"), "{screen}");

    let mut terminal = start(&["rekey"]);
    terminal.expect("Passphrase of the store (not shown): ");
    terminal.press("canary two\n");
    let (status, screen) = terminal.end();
    assert_eq!(status.code(), Some(6), "{screen}");
    let (status, screen) = start(&["rekey", "--no-ask"]).end();
    assert_eq!(status.code(), Some(6), "{screen}");

    let mut terminal = start(&["passphrase", "--remove"]);
    terminal.expect("Passphrase of the store (not shown): ");
    terminal.press("canary one\n");
    let (status, screen) = terminal.end();
    assert!(status.success() && !screen.contains("canary"), "{screen}");
    assert_eq!(
        run(&home, "get web/token --version 1 --store s", ""),
        "dummy\n"
    );
}

#[test]
fn a_restore_asks_at_a_terminal_before_it_replaces_a_store() {
    let home = Home::new();
    home.run("set web/token --store s", b"dummy-1");
    run(&home, "store backup b --store s", "");
    home.run("set web/token --store s", b"dummy-2");
    let current = || run(&home, "versions web/token --store s --json", "");
    let present = current();
    let restore = |answer: &str| {
        let mut terminal = Terminal::start(&home.keyway(["store", "restore", "b", "--store", "s"]));
        terminal.expect("Replace the store in DIR (1 secret) by the backup of ");
        terminal.expect("(1 secret)? [y/N] ");
        terminal.press(answer);
        terminal.end()
    };
    let (status, screen) = restore("n\n");
    assert_eq!(status.code(), Some(1), "{screen}");
    assert_eq!(current(), present);
    let (status, screen) = restore("y\n");
    assert!(status.success(), "{screen}");
    assert!(
        screen.contains("the replaced store is in DIR/replaced-"),
        "{screen}"
    );
    assert_ne!(current(), present);
    let command = home.keyway(["store", "restore", "b", "--store", "s", "--yes"]);
    let (status, screen) = Terminal::start(&command).end();
    assert!(status.success() && !screen.contains("[y/N]"), "{screen}");
}

/// Another machine has neither the key nor the store.
#[test]
fn a_backup_with_its_key_is_all_that_another_machine_needs() {
    let (home, machine) = (Home::new(), Home::new());
    home.set("web/token", b"dummy");
    run(
        &home,
        "store backup b --with-identity",
        "canary passphrase\n",
    );
    fs::copy(home.join("b"), machine.join("b")).unwrap();
    let content = fs::read(machine.join("b")).unwrap();
    assert!(!content.windows(14).any(|part| part == b"AGE-SECRET-KEY"));
    expect_code(&machine, "store restore b", "wrong\n", 6);
    assert!(!machine.join(".local/share/keyway").exists());
    run(&machine, "store restore b", "canary passphrase\n");
    run(&machine, "store passphrase --remove", "canary passphrase\n");
    let _daemon = machine.serve(&[]);
    assert_eq!(run(&machine, "get web/token", ""), "dummy\n");
}

#[test]
fn a_damaged_backup_changes_nothing() {
    let home = Home::new();
    run(&home, "set web/token", "dummy-1");
    run(&home, "store backup b", "");
    run(&home, "set web/token", "dummy-2");
    let path = home.join("b");
    let mut content = fs::read(&path).unwrap();
    let is_age = |part: &[u8]| part == b"age-encryption.org";
    let at = content.windows(18).rposition(is_age).unwrap();
    content[at + 100] ^= 1;
    fs::write(&path, &content).unwrap();
    let message = expect_code(&home, "store restore b --yes", "", 1);
    assert!(
        message.starts_with("keyway: the backup FILE cannot be used: "),
        "{message}"
    );
    let names = fs::read_dir(home.join(".local/share/keyway")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.starts_with("replaced")));
    let _daemon = home.serve(&[]);
    assert_eq!(run(&home, "get web/token", ""), "dummy-2\n");
}
