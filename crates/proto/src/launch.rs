//! The environment of a launched plugin: the launch variable, and the inherited variables.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The environment variable that holds the [`LaunchConfig`] of a launched plugin, as JSON.
pub const LAUNCH_VARIABLE: &str = "DOCKER_SECRETS_ENGINE_PLUGIN_LAUNCH_CFG";

/// The variables of the daemon's environment that a launched plugin inherits.
const INHERITED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "TZ",
    "TMPDIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "RUST_LOG",
];
/// The families of such variables.
const INHERITED_PREFIXES: &[&str] = &["LC_", "XDG_"];

/// Returns `true` if a launched plugin inherits this variable of the daemon's environment. All others have to be configured,
/// because they may hold tokens for other programs.
///
/// ```
/// use keyway_proto::is_inherited_variable;
///
/// assert!(is_inherited_variable("PATH") && is_inherited_variable("XDG_RUNTIME_DIR"));
/// assert!(!is_inherited_variable("AWS_SECRET_ACCESS_KEY"));
/// ```
pub fn is_inherited_variable(name: &str) -> bool {
    let has_prefix = |prefix: &&str| name.starts_with(prefix);
    INHERITED.contains(&name) || INHERITED_PREFIXES.iter().any(has_prefix)
}

/// The parameters of a launched plugin: its name, the time to register, and the descriptor of its connection.
///
/// ```
/// use keyway_proto::LaunchConfig;
/// use std::time::Duration;
///
/// let config = LaunchConfig::from_json(r#"{"name":"demo","timeout":5000000000,"fd":3}"#)?;
/// assert_eq!(config.timeout, Duration::from_secs(5));
/// assert_eq!(LaunchConfig::from_json(&config.to_json())?, config);
/// # Ok::<(), keyway_proto::LaunchConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "the protocol fixes the three keys, and runtimes have to make one"
)]
pub struct LaunchConfig {
    /// The name under which the plugin must register. Not empty.
    pub name: String,
    /// The limit of its registration. Not zero, at most about 292 years.
    pub timeout: Duration,
    /// The inherited descriptor of the connection. Greater than 2; runtimes use 3.
    pub fd: i32,
}

/// The JSON object. All keys are optional, so that an error can name the missing one; other keys are ignored.
#[derive(Serialize, Deserialize)]
struct Wire {
    name: Option<String>,
    timeout: Option<i64>,
    fd: Option<i32>,
}

impl LaunchConfig {
    /// Reads the value of [`LAUNCH_VARIABLE`].
    ///
    /// # Errors
    ///
    /// Returns [`LaunchConfigError`] if the text is not a JSON object, or a key is missing or out of range.
    pub fn from_json(text: &str) -> Result<Self, LaunchConfigError> {
        let wire: Wire = serde_json::from_str(text).map_err(LaunchConfigError::Json)?;
        let name = wire
            .name
            .filter(|name| !name.is_empty())
            .ok_or(LaunchConfigError::Name)?;
        let timeout = wire
            .timeout
            .and_then(|timeout| u64::try_from(timeout).ok())
            .filter(|&timeout| timeout > 0);
        let timeout = Duration::from_nanos(timeout.ok_or(LaunchConfigError::Timeout {
            given: wire.timeout,
        })?);
        let fd = wire
            .fd
            .filter(|&fd| fd > 2)
            .ok_or(LaunchConfigError::Descriptor { given: wire.fd })?;
        Ok(Self { name, timeout, fd })
    }

    /// Returns the value for [`LAUNCH_VARIABLE`]. A timeout beyond the range of the protocol is reduced to its limit.
    pub fn to_json(&self) -> String {
        let timeout = i64::try_from(self.timeout.as_nanos()).unwrap_or(i64::MAX);
        let wire = Wire {
            name: Some(self.name.clone()),
            timeout: Some(timeout),
            fd: Some(self.fd),
        };
        serde_json::to_string(&wire)
            .expect("a string and two numbers can always be written as JSON")
    }
}

/// The fault of a launch configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchConfigError {
    /// The text is not JSON or not an object, or a key has another type.
    #[error(
        "the launch configuration in {LAUNCH_VARIABLE} is not the expected JSON object; only a runtime sets this variable"
    )]
    Json(#[source] serde_json::Error),
    /// `name` is missing or empty.
    #[error("the launch configuration in {LAUNCH_VARIABLE} gives the plugin no name")]
    Name,
    /// `timeout` is missing or not positive.
    #[error("the launch configuration in {LAUNCH_VARIABLE} needs a positive timeout in nanoseconds, not {}", show(*given))]
    Timeout {
        /// The given value.
        given: Option<i64>,
    },
    /// `fd` is missing or one of the standard streams.
    #[error("the launch configuration in {LAUNCH_VARIABLE} needs an inherited fd above 2, not {}", show(*given))]
    Descriptor {
        /// The given value.
        given: Option<i32>,
    },
}

fn show(given: Option<impl ToString>) -> String {
    given.map_or_else(|| "none".to_owned(), |given| given.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_variable_of_the_reference_runtime_is_read() {
        let config =
            LaunchConfig::from_json(r#"{"name":"p","timeout":5000000000,"fd":3,"later":true}"#)
                .unwrap();
        assert_eq!(
            config,
            LaunchConfig {
                name: "p".to_owned(),
                timeout: Duration::from_secs(5),
                fd: 3
            }
        );
    }

    #[test]
    fn each_error_names_its_fault() {
        let fault = |text: &str| LaunchConfig::from_json(text).unwrap_err().to_string();
        for text in [
            "",
            "[]",
            "3",
            r#"{"name":1}"#,
            r#"{"name":"p","timeout":"5s","fd":3}"#,
        ] {
            assert!(
                fault(text).contains("not the expected JSON object"),
                "{text}"
            );
        }
        assert!(fault("{}").contains("no name"));
        assert!(fault(r#"{"name":"","timeout":1,"fd":3}"#).contains("no name"));
        assert!(
            fault(r#"{"name":"p","fd":3}"#).contains("positive timeout in nanoseconds, not none")
        );
        assert!(fault(r#"{"name":"p","timeout":0,"fd":3}"#).contains("not 0"));
        assert!(fault(r#"{"name":"p","timeout":-1,"fd":3}"#).contains("not -1"));
        assert!(fault(r#"{"name":"p","timeout":1,"fd":2}"#).contains("above 2, not 2"));
        assert!(fault(r#"{"name":"p","timeout":1}"#).contains("above 2, not none"));
    }

    proptest! {
        #[test]
        fn a_written_configuration_is_read_back(name in ".{1,20}", nanos in 1..=i64::MAX as u64, fd in 3..i32::MAX) {
            let config = LaunchConfig { name, timeout: Duration::from_nanos(nanos), fd };
            prop_assert_eq!(LaunchConfig::from_json(&config.to_json()).unwrap(), config);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}") {
            let _ = LaunchConfig::from_json(&text);
        }
    }
}
