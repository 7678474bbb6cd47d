//! The executable, launched as a runtime does.

use keyway_plugin_file::{Store, StoreConfig};
use keyway_plugin_sdk::ErrorKind;
use keyway_plugin_sdk::testing::{TestDaemon, block_on};

#[test]
fn a_write_of_another_process_is_served_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Store::new(StoreConfig::new(&path));
    block_on(async {
        let daemon = TestDaemon::builder()
            .name("file")
            .variable("KEYWAY_FILE_STORE", &path);
        let daemon = daemon.launch(env!("CARGO_BIN_EXE_file")).await.unwrap();
        assert_eq!(daemon.registration().pattern.as_deref(), Some("**"));
        assert_eq!(
            daemon.get("a").await.unwrap_err().kind(),
            ErrorKind::NotFound
        );
        assert!(!path.exists(), "a query creates no store");
        for value in [b"one".as_slice(), b"\xff\x00\n", b""] {
            store.set(&"a".parse().unwrap(), &value.into()).unwrap();
            assert_eq!(daemon.get("a").await.unwrap()[0].value.expose(), value);
        }
        assert!(store.remove(&"a".parse().unwrap()).unwrap());
        assert_eq!(
            daemon.get("a").await.unwrap_err().kind(),
            ErrorKind::NotFound
        );
        daemon.stop().await;
    });
}

#[test]
fn a_relative_store_directory_is_a_fatal_error() {
    block_on(async {
        let daemon = TestDaemon::builder().variable("KEYWAY_FILE_STORE", "relative");
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_file"))
            .env("KEYWAY_FILE_STORE", "relative")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(78));
        assert_eq!(
            String::from_utf8(output.stderr).unwrap(),
            "ERROR KEYWAY_FILE_STORE is `relative`, which is a relative path; give an absolute one\n"
        );
        assert!(daemon.launch(env!("CARGO_BIN_EXE_file")).await.is_err());
    });
}
