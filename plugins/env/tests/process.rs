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
fn a_variable_that_is_not_set_is_an_unavailable_failure_with_its_name() {
    block_on(async {
        let daemon = daemon("db/password=PASSWORD, db/user=NOT_SET")
            .variable("PASSWORD", "not-a-real-password");
        let daemon = daemon.launch(EXECUTABLE).await.unwrap();
        let error = daemon.get("db/user").await.unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (
                ErrorKind::Unavailable,
                "the variable NOT_SET of db/user is not set"
            )
        );
        let remedy =
            "set NOT_SET where the daemon starts, and list it in `pass_env` of [plugins.env]";
        assert_eq!(error.remedy(), Some(remedy));

        let response = daemon.call("db/*").get().await.unwrap();
        assert_eq!(response.found.len(), 1);
        let incomplete = response.incomplete.expect("it is incomplete");
        assert_eq!(
            (incomplete.kind(), incomplete.remedy()),
            (ErrorKind::Unavailable, Some(remedy))
        );
        let listing = daemon.call("db/*").list().await.unwrap();
        assert_eq!(listing.found.len(), 1);
        assert!(listing.incomplete.is_some());

        let complete = daemon.call("db/password").get().await.unwrap();
        assert!(complete.incomplete.is_none(), "{complete:?}");
        let missing = daemon.get("db/other").await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        daemon.stop().await;
    });
}

#[test]
fn the_description_is_registered() {
    block_on(async {
        let daemon = daemon("db/a=A").launch(EXECUTABLE).await.unwrap();
        let description = daemon.registration().description.clone().unwrap();
        assert!(description.shareable && !description.interactive);
        assert_eq!(description.lists, Some(true));
        daemon.stop().await;
    });
}

#[test]
fn without_a_configuration_no_secret_is_served() {
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
fn an_invalid_configuration_prevents_the_registration() {
    block_on(async {
        let error = daemon("nonsense").launch(EXECUTABLE).await.unwrap_err();
        assert!(matches!(error, LaunchError::Register(_)), "{error}");
    });
}

#[test]
fn an_invalid_configuration_ends_the_process_with_78() {
    let output = std::process::Command::new(EXECUTABLE)
        .env("KEYWAY_ENV_SECRETS", "nonsense")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "ERROR KEYWAY_ENV_SECRETS has an entry number 1 that is not `id=VARIABLE`\n"
    );
}
