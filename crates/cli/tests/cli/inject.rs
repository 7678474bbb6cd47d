//! `keyway inject`: the references of a template, its output file, and the failures that leave that as it was.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use keyway_test_support::{feed, set_mode, text};

use crate::support::Home;
use crate::support::script::{self, binary};

const TEMPLATE: &str = "# passwords: {{se://}}ID\nurl = \"postgres://shop:se://db/password@h\"\n\
                        host={{ se://web/token }}:5432\r\nroot=se://vault/**\n";

const RESULT: &str = "# passwords: se://ID\nurl = \"postgres://shop:dummy-password@h\"\n\
                      host=dummy-token:5432\r\nroot=dummy-root\n";

#[test]
fn the_help_has_examples_and_exit_codes() {
    insta::assert_snapshot!(Home::new().transcript(&["inject --help"]));
}

#[test]
fn references_of_a_file_or_stdin_become_secrets() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    home.write("app.tpl", TEMPLATE);
    for (line, stdin) in [
        ("inject app.tpl", ""),
        ("inject -", TEMPLATE),
        ("inject - -o -", TEMPLATE),
    ] {
        let output = home.run(line, stdin.as_bytes());
        assert_eq!(
            (text(&output.stdout), text(&output.stderr)),
            (RESULT.to_owned(), String::new())
        );
        assert_eq!(output.status.code(), Some(0));
    }
    let output = home.run("inject -", b"a\0\xff{{se://bin/key}}\xff");
    let expected = [&b"a\0\xff"[..], &binary(), b"\xff"].concat();
    assert_eq!(output.stdout, expected);
}

#[test]
fn a_template_without_references_needs_no_daemon() {
    let home = Home::new();
    assert_eq!(home.run("inject -", b"x=1\n").stdout, b"x=1\n");
    assert_eq!(home.run("inject -", b"").stdout, b"");
}

#[test]
fn the_output_file_is_replaced_as_a_whole_and_only_its_owner_can_read_it() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    home.write("app.tpl", TEMPLATE);
    home.write("out.conf", "former\n");
    set_mode(&home.join("out.conf"), 0o644);
    let former = fs::File::open(home.join("out.conf")).unwrap();
    let output = home.run("inject app.tpl -o out.conf", b"");
    assert_eq!(home.show(&output), "");
    assert_eq!(fs::read_to_string(home.join("out.conf")).unwrap(), RESULT);
    let mode = fs::metadata(home.join("out.conf"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(std::io::read_to_string(former).unwrap(), "former\n");
    home.create_dir("new");
    assert_eq!(
        home.show(&home.run("inject app.tpl --out new/out.conf", b"")),
        ""
    );
    assert_eq!(
        fs::read_to_string(home.join("new/out.conf")).unwrap(),
        RESULT
    );
}

#[test]
fn failures_leave_the_output_as_it_was() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    home.write("good.tpl", TEMPLATE);
    home.write(
        "missing.tpl",
        "a\nb=se://nothing/here\nc=se://nothing/here:1\nd=se://denied/id\n",
    );
    home.write(
        "invalid.tpl",
        "se://web/token\nhunter2 se://\n{{se://hunter2 hunter2}}\n${se://web/token}\n",
    );
    home.write("like.tpl", "SE://a\n\nx op://b\nse://nothing/here\n");
    home.write("out.conf", "former\n");
    symlink("out.conf", home.join("link")).unwrap();
    symlink("nowhere", home.join("dangling")).unwrap();
    let transcript = home.transcript(&[
        "inject missing.tpl -o out.conf",
        "inject invalid.tpl -o out.conf",
        "inject like.tpl -o out.conf",
        "inject none.tpl -o out.conf",
        "inject . -o out.conf",
        "inject good.tpl -o link",
        "inject good.tpl -o dangling --follow-link",
        "inject good.tpl -o .",
        "inject good.tpl -o no/such/directory",
        "inject good.tpl --follow-link",
    ]);
    assert!(!transcript.contains("hunter2"), "{transcript}");
    assert_eq!(
        fs::read_to_string(home.join("out.conf")).unwrap(),
        "former\n"
    );
    insta::assert_snapshot!(transcript);
    assert_eq!(
        home.show(&home.run("inject good.tpl -o link --follow-link", b"")),
        ""
    );
    assert_eq!(fs::read_to_string(home.join("out.conf")).unwrap(), RESULT);
    assert!(home.join("link").is_symlink());
}

#[test]
fn a_directory_that_cannot_be_written_has_no_file_of_the_attempt() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    home.write("good.tpl", TEMPLATE);
    let mut command = home.keyway(["inject", "good.tpl", "-o", "/proc/out.conf"]);
    let output = feed(&mut command, b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("keyway: OUT cannot be written: "));
}
