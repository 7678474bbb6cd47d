//! `keyway import`: the report, the question, and what other programs see afterwards.

use std::fs;
use std::process::Command;

use keyway_test_support::{feed, require, text};

use crate::support::{Home, Terminal};

const ENV: &str = "# Shop\nPORT=3000\nSTRIPE_KEY=\"sk_test_dummy_4242\" # payment\nSESSION_SECRET='not-a-real session'\nURL=http://localhost:${PORT}/\n";

const MOVED: &str = "# Shop\nPORT=3000\nSTRIPE_KEY=\"se://shop/stripe-key\" # payment\nSESSION_SECRET='se://shop/session-secret'\nURL=http://localhost:${PORT}/\n";

/// A home with a project.
fn shop() -> Home {
    let home = Home::new();
    home.create_dir("shop");
    home.write("shop/.env", ENV);
    home
}

fn read(home: &Home, name: &str) -> String {
    fs::read_to_string(home.join(name)).unwrap()
}

#[test]
fn a_project_is_moved_and_run_gets_its_values() {
    let home = shop();
    home.write("shop/.env~", "");
    insta::assert_snapshot!(home.transcript(&[
        "import --dry-run shop/.env",
        "import --yes shop/.env",
        "import --yes shop/.env",
    ]));
    assert_eq!(read(&home, "shop/.env"), MOVED);
    let _daemon = home.serve(&[]);
    let mut run = home.keyway([
        "run",
        "--env-file",
        "shop/.env",
        "--",
        "sh",
        "-c",
        "printf %s \"$STRIPE_KEY|$SESSION_SECRET|$PORT\"",
    ]);
    assert_eq!(
        text(&feed(&mut run, b"").stdout),
        "sk_test_dummy_4242|not-a-real session|3000"
    );
}

#[test]
fn json_reports_each_value_without_it() {
    let home = shop();
    let output = home.run("import --yes --json shop/.env not-there", b"");
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let file = &json["files"][0];
    assert_eq!(
        (&file["outcome"], &file["format"]),
        (&"moved".into(), &"env".into())
    );
    assert_eq!(file["values"][1]["id"], "shop/stripe-key");
    assert_eq!(file["values"][1]["stored"], "nothing");
    assert_eq!(file["values"][0]["is_moved"], false);
    assert_eq!(json["files"][1]["outcome"], "failed");
    assert!(!text(&output.stdout).contains("dummy"));
}

#[test]
fn a_question_needs_a_terminal() {
    let home = shop();
    insta::assert_snapshot!(home.transcript(&[
        "import shop/.env",
        "import --json shop/.env",
        "import",
        "import --yes --dry-run shop/.env",
        "import --yes no-such-file",
        "import --yes shop",
        "import --yes /dev/null",
        "import --scan shop --yes",
        "import --scan shop/.env",
    ]));
    assert_eq!(read(&home, "shop/.env"), ENV);
}

#[test]
fn rows_can_be_changed_before_the_answer() {
    let home = shop();
    home.set("shop/session-secret", b"another");
    let mut terminal = Terminal::start(&home.keyway(["import", "shop/.env"]));
    for (shown, keys) in [
        ("Move 1 value out of 1 file? [yes, no, ? for more] ", "?\n"),
        ("NUMBER skip", "2 shop/stripe\n"),
        ("se://shop/stripe\r\n", "1 move\n"),
        ("se://shop/port", "9 skip\n"),
        ("There is no row with this number.", "1 replace\n"),
        ("The store has no other value", "1 shop/stripe\n"),
        ("Another value of this import has this id.", "1 a//b\n"),
        ("This is not a valid id", "1 skip\n"),
        ("Move 1 value", "3 replace\n"),
        ("(as a new version)", "yes\n"),
    ] {
        terminal.expect(shown);
        terminal.press(keys);
    }
    let (status, screen) = terminal.end();
    assert!(status.success(), "{screen}");
    assert!(
        !screen.contains("dummy") && !screen.contains("not-a-real"),
        "{screen}"
    );
    assert!(
        screen.contains("STRIPE_KEY -> se://shop/stripe\n"),
        "{screen}"
    );
    let moved = MOVED.replace("shop/stripe-key", "shop/stripe");
    assert_eq!(read(&home, "shop/.env"), moved);
}

#[test]
fn nothing_changes_unless_the_answer_is_yes() {
    let home = shop();
    for keys in ["no\n", "\x04"] {
        let mut terminal = Terminal::start(&home.keyway(["import", "shop/.env"]));
        terminal.expect("for more] ");
        terminal.press(keys);
        let (status, screen) = terminal.end();
        assert_eq!(status.code(), Some(1), "{screen}");
        assert!(
            screen.contains("the answer was not yes.\nNothing was stored"),
            "{screen}"
        );
    }
    assert_eq!(read(&home, "shop/.env"), ENV);
    assert!(!home.join("data").exists());
}

#[test]
fn a_file_that_changes_during_the_question_stays_as_it_is() {
    let home = shop();
    let mut terminal = Terminal::start(&home.keyway(["import", "shop/.env"]));
    terminal.expect("for more] ");
    let changed = format!("{ENV}NEW=1\n");
    home.write("shop/.env", &changed);
    terminal.press("yes\n");
    let (status, screen) = terminal.end();
    assert_eq!(status.code(), Some(1));
    assert!(
        screen.contains("shop/.env was changed in the meantime."),
        "{screen}"
    );
    assert_eq!(read(&home, "shop/.env"), changed);
}

#[test]
fn values_that_are_stored_with_another_value_stay() {
    let home = shop();
    home.set("shop/stripe-key", b"another");
    insta::assert_snapshot!(home.transcript(&["import --yes shop/.env"]));
    assert!(read(&home, "shop/.env").contains("sk_test_dummy_4242"));
}

#[test]
fn git_history_and_backups_are_named() {
    if !require::has_program("git") {
        return;
    }
    let home = shop();
    let git = |line: &str| {
        let mut git = home.command("git");
        git.current_dir(home.join("shop")).args([
            "-c",
            "user.name=ann",
            "-c",
            "user.email=ann@example.com",
        ]);
        assert!(
            git.args(line.split(' ')).output().unwrap().status.success(),
            "{line}"
        );
    };
    git("init -q");
    for n in 1..=2 {
        home.write("shop/.env", format!("{ENV}N={n}\n"));
        git("add .env");
        git("commit -qm x");
    }
    let output = home.run("import --yes --backup shop/.env", b"");
    let shown = home.show(&output);
    assert!(
        shown.contains("still in git's history (2 commits), in .env.bak, and"),
        "{shown}"
    );
    assert!(
        shown.contains("The old file is HOME/shop/.env.bak;"),
        "{shown}"
    );
    assert_eq!(read(&home, "shop/.env.bak"), format!("{ENV}N=2\n"));
}

#[test]
fn files_with_secrets_are_found_below_a_directory() {
    let home = shop();
    for directory in ["shop/node_modules/x", "shop/.git", "shop/api", "clean"] {
        home.create_dir(directory);
    }
    home.write("shop/node_modules/x/.env", ENV);
    home.write("shop/.git/.env", ENV);
    home.write("shop/.gitignore", ".env\n");
    home.write(
        "shop/api/.netrc",
        "machine example.com login ann password dummy\n",
    );
    home.write("shop/api/broken.env", "A='\n");
    home.write("clean/.env", "PORT=3000\nTOKEN=se://a/b\n");
    std::os::unix::fs::symlink(home.join("shop/api"), home.join("clean/link")).unwrap();
    insta::assert_snapshot!(home.transcript(&[
        "import --scan shop",
        "import --scan clean",
        "import --scan shop --json"
    ]));
    assert_eq!(read(&home, "shop/.env"), ENV);
}

/// The whole way of a format: moved, and then read by what reads it.
#[test]
fn other_formats_name_what_their_programs_do_now() {
    let home = Home::new();
    home.create_dir(".aws");
    home.write(".aws/credentials", "[default]\naws_access_key_id = AKIAIOSFODNN7DUMMY00\naws_secret_access_key = dummyDUMMYdummy\n");
    home.write(
        ".netrc",
        "machine example.com login ann password dummy-pw\n",
    );
    home.write(
        ".npmrc",
        "//registry.npmjs.org/:_authToken=npm_dummydummydummydummy\n",
    );
    home.write(
        ".pypirc",
        "[pypi]\nusername = __token__\npassword = pypi-dummydummydummydummy\n",
    );
    home.write(".git-credentials", "https://ann:p%40ss@example.com\n");
    home.write(
        ".profile",
        "export GITHUB_TOKEN=ghp_dummydummydummydummydummy\n. ./x\n",
    );
    let files = [
        ".aws/credentials",
        ".netrc",
        ".npmrc",
        ".pypirc",
        ".git-credentials",
        ".profile",
    ];
    let line = format!("import --yes {}", files.join(" "));
    let mut shown = home.transcript(&[&line]);
    for file in files {
        shown += &format!("# {file}\n{}", read(&home, file));
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn a_moved_script_and_gits_helper_get_the_values() {
    let home = Home::new();
    home.write(
        ".profile",
        "export GITHUB_TOKEN=ghp_dummydummydummydummydummy\n",
    );
    home.write(".git-credentials", "https://ann:p%40ss@example.com\n");
    let output = home.run("import --yes .profile .git-credentials", b"");
    let report = text(&output.stdout);
    let _daemon = home.serve(&[]);
    // Beside the program are plugins, and one of them is called `env`.
    fs::create_dir(home.join("bin")).unwrap();
    std::os::unix::fs::symlink(crate::support::KEYWAY, home.join("bin/keyway")).unwrap();
    let path = home.search_path();
    let mut shell = home.command("sh");
    shell
        .env("PATH", &path)
        .args(["-c", ". ./.profile; printf %s \"$GITHUB_TOKEN\""]);
    assert_eq!(
        text(&feed(&mut shell, b"").stdout),
        "ghp_dummydummydummydummydummy"
    );
    if !require::has_program("git") {
        return;
    }
    let set_up = report
        .lines()
        .find_map(|line| line.split_once("Let git ask Keyway: `"))
        .unwrap()
        .1;
    let set_up = set_up.trim_end_matches("`.");
    let git = |script: &str, stdin: &str| {
        let mut shell: Command = home.command("sh");
        shell
            .env("PATH", &path)
            .env("HOME", home.path())
            .env("GIT_TERMINAL_PROMPT", "0")
            .args(["-c", script]);
        let output = feed(&mut shell, stdin.as_bytes());
        assert!(output.status.success(), "{script}: {}", home.show(&output));
        text(&output.stdout)
    };
    git(set_up, "");
    let filled = git(
        "git credential fill",
        "protocol=https\nhost=example.com\n\n",
    );
    assert!(filled.contains("username=ann\npassword=p@ss\n"), "{filled}");
}

#[test]
fn a_running_daemon_stores_the_values() {
    let home = shop();
    let audit = home.join("audit.jsonl");
    home.configure(&format!("[audit]\npath = {audit:?}\n"));
    let _daemon = home.serve(&[]);
    let output = home.run("import --yes shop/.env", b"");
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        home.show(&output)
    );
    assert_eq!(read(&home, "shop/.env"), MOVED);
    let records = keyway_test_support::eventually("the audit records of the writes", || {
        let records = read(&home, "audit.jsonl");
        match records.matches("\"action\":\"write\"").count()
            + records.matches("\"action\":\"set\"").count()
        {
            2.. => Ok(records),
            _ => Err(records),
        }
    });
    assert!(
        records.contains("shop/session-secret") && !records.contains("not-a-real"),
        "{records}"
    );
    let output = home.run("get --value shop/session-secret", b"");
    assert_eq!(text(&output.stdout), "not-a-real session");
}

#[test]
fn inject_completes_a_moved_file() {
    let home = Home::new();
    let files = [
        (
            ".env",
            "# c\r\nA_TOKEN='dummy # 1'\r\nDATABASE_URL=postgres://a:dummy%402@h:1/x # c\r\nPORT=1",
        ),
        (
            ".netrc",
            "machine a.example login b password dummy-3 # c\nmachine b.example\n\tpassword dummy-4\n",
        ),
        (
            ".pypirc",
            "[pypi]\nusername = __token__\npassword: pypi-dummydummydummydummy\n",
        ),
    ];
    for (name, text) in files {
        home.write(name, text);
    }
    let _daemon = home.serve(&[]);
    for (name, original) in files {
        let output = home.run(&format!("import --yes {name}"), b"");
        assert!(output.status.success(), "{}", home.show(&output));
        assert!(!read(&home, name).contains("dummy"), "{name}");
        assert_eq!(
            text(&home.run(&format!("inject {name}"), b"").stdout),
            original
        );
    }
}
