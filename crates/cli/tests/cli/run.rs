//! `keyway run`: the variables of the child, and the failures that prevent its start.

use std::io::{BufRead as _, BufReader};
use std::os::unix::ffi::OsStrExt as _;
use std::process::{ChildStdout, Command, Output, Stdio};

use keyway_test_support::scripted::ScriptedDaemon;
use keyway_test_support::{Process, feed, set_mode, text};

use crate::support::Home;
use crate::support::script::{self, binary};

/// `keyway run` with these options before the `--` and a shell script as the command.
pub(crate) fn run(home: &Home, options: &[&str], script: &str) -> Command {
    let mut arguments = vec!["run"];
    arguments.extend(options);
    arguments.extend(["--", "sh", "-c", script]);
    home.keyway(arguments)
}

/// Starts a command with a pipe from its standard output, and returns the first line and the rest.
#[track_caller]
pub(crate) fn start(command: &mut Command) -> (Process, String, BufReader<ChildStdout>) {
    let mut process = Process::spawn(command.stdout(Stdio::piped()));
    let mut stdout = BufReader::new(process.stdout());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    (process, line, stdout)
}

fn with_daemon(change: impl FnOnce(&mut Command), options: &[&str], text: &str) -> Output {
    let home = Home::new();
    let _daemon = script::serve(&home);
    let mut command = run(&home, options, text);
    change(&mut command);
    feed(&mut command, b"")
}

#[test]
fn references_become_secrets_and_other_variables_are_kept() {
    let odd = std::ffi::OsStr::from_bytes(b"\xff=\n");
    let output = with_daemon(
        |command| {
            command
                .env("TOKEN", "se://web/token")
                .env("AGAIN", "se://web/token")
                .env("PASSWORD", "se://db/password")
                .env("ODD", odd)
                .env("LONGER", "x:se://web/token@y,{{se://db/password}}:5432")
                .env("OTHER", "database://web/token");
        },
        &[],
        "printf '%s|' \"$TOKEN\" \"$AGAIN\" \"$PASSWORD\" \"$LONGER\" \"$OTHER\" \"$ODD\"",
    );
    let expected = b"dummy-token|dummy-token|dummy-password|\
        x:dummy-token@y,dummy-password:5432|database://web/token|\xff=\n|";
    assert_eq!(output.stdout, expected);
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn the_help_has_examples_and_exit_codes() {
    insta::assert_snapshot!(Home::new().transcript(&["run --help"]));
}

#[test]
fn global_options_may_precede_the_command() {
    let home = Home::new();
    let _daemon = ScriptedDaemon::serve(home.join("other.sock"), script::full());
    let line = [
        "--socket",
        "other.sock",
        "run",
        "--",
        "sh",
        "-c",
        "echo $TOKEN -- $0",
        "--",
    ];
    let output = feed(home.keyway(line).env("TOKEN", "se://web/token"), b"");
    assert_eq!(text(&output.stdout), "dummy-token -- --\n");
    let line = ["--json", "run", "--dry-run", "--", "true"];
    let output = feed(home.keyway(line).env("TOKEN", "se://web/token"), b"");
    let expected = r#"[{"variable":"TOKEN","id":"web/token","from":"environment"}]"#;
    assert_eq!(text(&output.stdout), format!("{expected}\n"));
}

#[test]
fn env_files_add_variables_and_the_last_one_wins() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    home.write("a.env", "A=file\nB='se://web/token'\n");
    home.write("b.env", "B=se://db/password\n");
    let mut command = run(
        &home,
        &["--env-file", "a.env", "--env-file", "b.env"],
        "echo $A $B $C",
    );
    command.env("A", "environment").env("C", "kept");
    let output = feed(&mut command, b"");
    assert_eq!(home.show(&output), "file dummy-password kept\n");
}

#[test]
fn a_secret_may_hold_any_byte_but_zero() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    let mut command = run(&home, &[], "printf %s \"$A\"");
    command.env("A", "se://bin/quoted");
    assert_eq!(feed(&mut command, b"").stdout, b"a\"b\n");
    assert!(binary().contains(&0));
    command.env("A", "se://bin/key");
    insta::assert_snapshot!(home.show(&feed(&mut command, b"")));
}

#[test]
fn nothing_starts_unless_every_reference_is_resolved() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    let mut text = String::new();
    for references in [
        &["se://nothing/here"][..],
        &[
            "se://web/token",
            "se://nothing/here",
            "se://denied/id",
            "se://nothing/here",
        ],
        &["se://nothing/here", "se://broken/id"],
        &["se://twice/id"],
        &["se://web/*"],
        &["se://nothing/*"],
        &["se://half/*"],
        &["x se://nothing/here:80", "se://nothing/here:80"],
        &[
            "se://web/*x",
            "x se://",
            "se://web//token",
            "${se://web/token}",
        ],
        &["se://u:se://p@h", "{{se://web/token}", "{{se://hunter 2}}"],
    ] {
        let mut command = run(&home, &[], "touch started");
        for (name, reference) in ["A", "B", "C", "D"].iter().zip(references) {
            command.env(name, reference);
        }
        text += &format!(
            "# {}\n{}\n",
            references.join(" "),
            home.show(&feed(&mut command, b""))
        );
    }
    assert!(!home.join("started").exists());
    insta::assert_snapshot!(text);
}

#[test]
fn without_a_daemon() {
    let home = Home::new();
    let output = feed(&mut run(&home, &[], "echo no secrets needed"), b"");
    assert_eq!(home.show(&output), "no secrets needed\n");
    let mut command = run(&home, &[], "touch started");
    command
        .env("A", "se://web/token")
        .env("B", "se://db/password");
    insta::assert_snapshot!(home.show(&feed(&mut command, b"")));
    assert!(!home.join("started").exists());
}

#[test]
fn a_dry_run_lists_the_references_without_a_query() {
    let home = Home::new();
    let variables = "# comment\nTOKEN=se://web/token\nPLAIN=hunter2\n";
    home.write("app.env", variables);
    let mut command = run(
        &home,
        &["--dry-run", "--env-file", "app.env"],
        "touch started",
    );
    command.env("PASSWORD", "se://db/password");
    let dry = home.show(&feed(&mut command, b""));
    let nothing = home.show(&feed(&mut run(&home, &["--dry-run"], "touch started"), b""));
    assert!(!home.join("started").exists());
    insta::assert_snapshot!(format!("{dry}\n{nothing}"));
}

#[test]
fn invalid_env_files() {
    let home = Home::new();
    let mut text = String::new();
    for content in [
        "A=1\nhunter2\n",
        "A='hunter2\n",
        "A=\"hunter2\"x",
        "1A=hunter2",
        "A=\"\\x\"",
        "A=x se://hunter//2",
        "A=1\nB=x\0hunter2\n",
        "A=${B:-hunter2",
        "A=0123456789\nB=${A}${A}${A}${A}${A}${A}${A}${A}${A}${A}\nC=${B}${B}${B}${B}${B}${B}${B}${B}${B}${B}\n\
         D=${C}${C}${C}${C}${C}${C}${C}${C}${C}${C}\nE=${D}${D}${D}${D}${D}${D}${D}${D}${D}${D}\n\
         F=${E}${E}${E}${E}${E}${E}${E}${E}${E}${E}\n",
    ] {
        home.write("app.env", content);
        let output = feed(
            &mut run(&home, &["--env-file", "app.env"], "touch started"),
            b"",
        );
        let shown = home.show(&output);
        assert!(!shown.contains("hunter2"), "{shown}");
        text += &format!("# {content:?}\n{shown}\n");
    }
    for options in [
        &["--env-file", "missing.env"][..],
        &["--env-file", "."],
        &["--env-file", "-", "--env-file", "-"],
    ] {
        let output = feed(&mut run(&home, options, "touch started"), b"");
        text += &format!("# {}\n{}\n", options.join(" "), home.show(&output));
    }
    assert!(!home.join("started").exists());
    insta::assert_snapshot!(text);
}

#[test]
fn env_files_expand_variables_from_above_and_the_environment() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    home.write(
        "app.env",
        "HOST=localhost\nPORT=80 # as ever\nPW=se://db/password\n\
         URL=postgres://shop:${PW}@${HOST}:${PORT}/${DB:-shop}\n\
         QUOTED=\"${HOST}\\n${FROM_OUTSIDE}\"\nID=se://${STAGE}/token\nLITERAL='${HOST}'\n",
    );
    let mut command = run(
        &home,
        &["--env-file", "app.env"],
        "printf '%s|' \"$URL\" \"$QUOTED\" \"$ID\" \"$LITERAL\"",
    );
    command.env("FROM_OUTSIDE", "out").env("STAGE", "web");
    let output = feed(&mut command, b"");
    let expected =
        "postgres://shop:dummy-password@localhost:80/shop|localhost\nout|dummy-token|${HOST}|";
    assert_eq!(text(&output.stdout), expected);
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

/// A secret is not text of the file: nothing in it is expanded or taken for a reference.
#[test]
fn nothing_within_a_secret_is_expanded() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    home.write("app.env", "X=hunter2\nA=se://like/syntax\nB=${A}\n");
    let mut command = run(
        &home,
        &["--env-file", "app.env"],
        "printf '%s|' \"$A\" \"$B\"",
    );
    let expected = "${X}$(x) se://web/token|${X}$(x) se://web/token|";
    assert_eq!(text(&feed(&mut command, b"").stdout), expected);
}

#[test]
fn an_env_file_may_be_standard_input() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    let mut command = run(&home, &["--env-file", "-"], "cat; echo $A");
    let output = feed(&mut command, b"A=se://web/token\n");
    assert_eq!(home.show(&output), "dummy-token\n");
    let mut command = run(&home, &["--env-file", "-"], "touch started");
    let output = feed(&mut command, b"# x\nhunter2\n");
    assert!(text(&output.stderr).contains("line 2 of stdin is wrong"));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn what_looks_like_a_reference_or_an_expansion_is_noted_by_name_and_line() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    home.write(
        "app.env",
        "QUOTED=\"\\\"se://web/token\\\"\"\nSPACED=' se://web/token'\nUPPER=SE://web/token\n\
         OP=op://vault/item/field\nVAULT=https://u:vault://kv/pw@h\nBWS=bws:1234\n\
         DATE=$(date)\nTICK=\"`date`\"\nASK=${HOST:?unset}\nNONE=a${NONE}b\nSECRET=pa$word$PATH\n\
         TWO=1; export B=se://web/token\nLITERAL='op:/ $(x) `x` ${x}'\n",
    );
    let script = "printf '%s|' \"$QUOTED\" \"$SPACED\" \"$UPPER\" \"$NONE\" \"$TICK\" \"$COPIED\"";
    let mut shown = String::new();
    for options in [
        &["--env-file", "app.env"][..],
        &["--dry-run", "--env-file", "app.env"],
    ] {
        let mut command = run(&home, options, script);
        command.env("COPIED", "'se://web/token'");
        let options = options.join(" ");
        shown += &format!("# {options}\n{}\n", home.show(&feed(&mut command, b"")));
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn a_pattern_becomes_the_only_secret_that_matches_it() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    let mut command = run(&home, &[], "echo \"$A\"");
    command.env("A", "x-se://vault/**");
    assert_eq!(home.show(&feed(&mut command, b"")), "x-dummy-root\n");
}

#[test]
fn what_is_too_large_for_the_kernel_is_named_with_its_limit() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    let mut command = run(&home, &[], "touch started");
    command.env("LARGE", "se://large/id");
    let large = feed(&mut command, b"");
    assert_eq!(large.status.code(), Some(126));
    let shown = text(&large.stderr);
    assert!(
        shown.contains(
            "the variable LARGE has 1048583 bytes with its name, and the limit of one is"
        ),
        "{shown}"
    );
    assert!(!home.join("started").exists());
}

#[test]
fn commands_that_cannot_be_started() {
    let home = Home::new();
    home.write("text", "echo hello\n");
    home.write("own-script", "#!/no/such/interpreter\n");
    set_mode(&home.join("own-script"), 0o755);
    let mut text = home.transcript(&[
        "run -- no-such-command",
        "run -- ./no/such",
        "run -- ./text",
        "run -- .",
        "run -- ./own-script",
    ]);
    let in_path = |command: &mut Command| {
        let path = home.path().display();
        feed(command.env("PATH", format!("/bin:/usr/bin:{path}")), b"")
    };
    let output = in_path(&mut home.keyway(["run", "--", "own-script"]));
    text += &format!("# in PATH\n{}\n", home.show(&output));
    let output = feed(&mut home.keyway(["run", "--", ""]), b"");
    text += &format!("# empty\n{}\n", home.show(&output));
    set_mode(&home.join("text"), 0o755);
    text += &home.transcript(&["run -- ./text"]);
    insta::assert_snapshot!(text);
}

#[test]
fn a_missing_loader_of_a_program_is_named() {
    let home = Home::new();
    let mut program = std::fs::read("/bin/true").unwrap();
    let loader = b"/ld-linux";
    let at = program
        .windows(loader.len())
        .position(|part| part == loader);
    if !keyway_test_support::require::has("a dynamic /bin/true", at.is_some()) {
        return;
    }
    program[at.unwrap() + 1] = b'x';
    std::fs::write(home.join("own-true"), program).unwrap();
    set_mode(&home.join("own-true"), 0o755);
    let output = home.run("run -- ./own-true", b"");
    assert_eq!(output.status.code(), Some(126));
    assert!(text(&output.stderr).starts_with("keyway: the loader of the command does not exist."));
}

#[test]
fn a_command_is_found_in_the_childs_path() {
    let home = Home::new();
    let bin = home.create_dir("bin");
    std::os::unix::fs::symlink("/bin/echo", bin.join("own-echo")).unwrap();
    let path = format!("PATH={}\n", bin.display());
    home.write("app.env", path);
    let output = home.run("run --env-file app.env -- own-echo found", b"");
    assert_eq!(home.show(&output), "found\n");
}
