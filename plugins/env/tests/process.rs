//! The executable, launched as a runtime does.

use keyway_plugin_sdk::ErrorKind;
use keyway_plugin_sdk::testing::{LaunchError, TestDaemon, TestDaemonBuilder, block_on};

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_env");

fn daemon(secrets: &str) -> TestDaemonBuilder {
    TestDaemon::builder()
        .name("env")
        .variable("KEYWAY_ENV_SECRETS", secrets)
}

#[test]
fn configured_variables_are_served_and_listed() {
    block_on(async {
        let daemon = daemon("db/password=PASSWORD, db/user=NOT_SET")
            .variable("PASSWORD", "not-a-real-password")
            .variable("OTHER", "not configured");
        let daemon = daemon.launch(EXECUTABLE).await.unwrap();
        assert_eq!(daemon.registration().pattern.as_deref(), Some("db/**"));
        assert!(daemon.registration().version.starts_with('v'));
        let found = daemon.get("**").await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].id.as_str(), "db/password");
        assert_eq!(found[0].value.expose(), b"not-a-real-password");
        assert_eq!(
            daemon.get("db/user").await.unwrap_err().kind(),
            ErrorKind::NotFound
        );
        let listed = daemon.list("**").await.unwrap();
        assert_eq!(
            listed
                .iter()
                .map(|secret| secret.id.as_str())
                .collect::<Vec<_>>(),
            ["db/password"]
        );
        daemon.stop().await;
    });
}

#[test]
fn with_nothing_configured_it_serves_nothing() {
    block_on(async {
        let daemon = daemon("").launch(EXECUTABLE).await.unwrap();
        assert_eq!(
            daemon.get("**").await.unwrap_err().kind(),
            ErrorKind::NotFound
        );
        daemon.stop().await;
    });
}

#[test]
fn a_wrong_configuration_keeps_it_from_registering() {
    block_on(async {
        let error = daemon("nonsense").launch(EXECUTABLE).await.unwrap_err();
        assert!(matches!(error, LaunchError::Register(_)), "{error}");
    });
}
