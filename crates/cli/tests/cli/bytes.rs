//! Values are stored and printed byte for byte, without additions.

use keyway_plugin_file::{Store, StoreConfig};
use keyway_test_support::text;

use crate::support::script::{self, binary};
use crate::support::{Home, KEYWAY};

#[test]
fn set_stores_every_byte() {
    let home = Home::new();
    let values = [
        binary(),
        b"line\n".to_vec(),
        Vec::new(),
        vec![0; 100_000],
        vec![b'\n'],
    ];
    for value in values {
        let output = home.run("set bin/key --allow-empty --store s", &value);
        assert!(output.status.success(), "{}", home.show(&output));
        let store = Store::new(StoreConfig::new(home.join("s")));
        let stored = store.get(&"bin/key".parse().unwrap()).unwrap();
        assert_eq!(stored[0].value.expose(), value);
    }
}

#[test]
fn get_with_value_prints_the_bytes_alone() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    let raw = home.run("get bin/key --value", b"");
    assert_eq!((raw.status.code(), raw.stdout), (Some(0), binary()));
    let line = home.run("get bin/key", b"");
    let expected = [binary(), b"\n".to_vec()].concat();
    assert_eq!((line.status.code(), line.stdout), (Some(0), expected));
}

#[test]
fn a_listing_prints_no_value() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    for line in [
        "ls --fetch",
        "ls --fetch --json",
        "get web/*",
        "get twice/id",
    ] {
        let output = home.run(line, b"");
        let text = home.show(&output);
        assert!(!text.contains("dummy"), "{line}: {text}");
    }
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    use std::process::{Command, Stdio};
    let home = Home::new();
    let _daemon = script::serve(&home);
    let script = format!(
        "({} get large/id --value --socket {}; echo $? >&2) | head -c 1",
        KEYWAY,
        home.socket().display()
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"x");
    assert_eq!(text(&output.stderr), "0\n");
}

#[test]
fn a_full_disk_is_an_error() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = home
        .keyway(["get", "web/token"])
        .stdout(full)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(home.show(&output));
}

#[test]
fn an_id_reserved_for_management_or_writes_is_not_stored() {
    let home = Home::new();
    for id in ["keyway/manage/stop", "keyway/write/web/token"] {
        let output = home.run(&format!("set {id} --store s"), b"not-a-real-token");
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{id}: {stderr}");
        assert!(
            output.stdout.is_empty() && stderr.contains("reserved"),
            "{id}: {stderr}"
        );
    }
    let output = home.run("set keyway/other --store s", b"not-a-real-token");
    assert_eq!(output.status.code(), Some(0));
}
