//! What an author implements to decide who may read secrets.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use keyway_proto::accesscontrol::v1 as wire;
use keyway_secrets::Pattern;

use crate::ProviderError;

/// An access-control module: decides who may read secrets.
///
/// The daemon asks all its modules for every request, and one denial is enough. An error, a panic or a late answer
/// counts as a denial too.
///
/// ```
/// use keyway_plugin_sdk::{AccessControl, Decision, Pattern, ProviderError, Requester};
///
/// /// Only programs of the system may read what is under `prod`.
/// struct SystemProgramsOnly;
///
/// impl AccessControl for SystemProgramsOnly {
///     async fn check_access(
///         &self,
///         pattern: &Pattern,
///         requester: &Requester,
///     ) -> Result<Decision, ProviderError> {
///         let production: Pattern = "prod/**".parse()?;
///         let trusted = requester.binary_path().is_some_and(|path| path.starts_with("/usr/bin"));
///         Ok(if trusted || !pattern.overlaps(&production) { Decision::Allow } else { Decision::Deny })
///     }
/// }
/// ```
pub trait AccessControl: Send + Sync + 'static {
    /// The plugin's version, a Go semver such as `v1.2.3`. Default: `v0.0.0`.
    fn version(&self) -> &str {
        "v0.0.0"
    }

    /// Whether the requester may read, now, what the pattern matches.
    fn check_access(
        &self,
        pattern: &Pattern,
        requester: &Requester,
    ) -> impl Future<Output = Result<Decision, ProviderError>> + Send;

    /// Whether the requester may read all of this later, asked ahead of use. Default: what
    /// [`check_access`](Self::check_access) says of each pattern, for the moment.
    fn authorize(
        &self,
        patterns: &[Pattern],
        requester: &Requester,
    ) -> impl Future<Output = Result<Authorization, ProviderError>> + Send {
        async move {
            for pattern in patterns {
                if self.check_access(pattern, requester).await? == Decision::Deny {
                    return Ok(Authorization::deny());
                }
            }
            Ok(Authorization {
                decision: Decision::Allow,
                expires_at: None,
            })
        }
    }
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "there is no third answer")]
pub enum Decision {
    /// The requester may read.
    Allow,
    /// The requester may not read.
    Deny,
}

/// The answer to a question asked ahead of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Authorization {
    /// Yes or no, for all patterns together.
    pub decision: Decision,
    /// How long the answer may be relied on; `None` says nothing about that.
    pub expires_at: Option<SystemTime>,
}

impl Authorization {
    /// The requester may read all of it, at least until `expires_at`.
    #[must_use]
    pub fn allow_until(expires_at: SystemTime) -> Self {
        Self {
            decision: Decision::Allow,
            expires_at: Some(expires_at),
        }
    }

    /// The requester may not read all of it.
    #[must_use]
    pub fn deny() -> Self {
        Self {
            decision: Decision::Deny,
            expires_at: None,
        }
    }
}

/// The program that asks, as far as the daemon could find out.
///
/// Process id and user are checked by the kernel; path and name are advisory, because another program of the same user
/// can take them on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requester {
    pid: i32,
    name: String,
    binary_path: PathBuf,
}

impl Requester {
    /// A requester, for a test of a module.
    #[must_use]
    pub fn new(pid: i32, name: impl Into<String>, binary_path: impl Into<PathBuf>) -> Self {
        Self {
            pid,
            name: name.into(),
            binary_path: binary_path.into(),
        }
    }

    /// The process id; zero when the daemon could not tell.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The program's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path of its executable, if the daemon could read it.
    #[must_use]
    pub fn binary_path(&self) -> Option<&Path> {
        Some(self.binary_path.as_path()).filter(|path| path.is_absolute())
    }

    #[cfg(feature = "test-kit")]
    pub(crate) fn to_wire(&self) -> wire::Requester {
        wire::Requester {
            pid: Some(self.pid),
            name: Some(self.name.clone()),
            absolute_binary_path: Some(self.binary_path.display().to_string()),
            ..wire::Requester::default()
        }
    }

    pub(crate) fn from_wire(requester: Option<wire::Requester>) -> Self {
        let requester = requester.unwrap_or_default();
        Self {
            pid: requester.pid.unwrap_or_default(),
            name: requester.name.unwrap_or_default(),
            binary_path: requester.absolute_binary_path.unwrap_or_default().into(),
        }
    }
}

impl Decision {
    pub(crate) fn to_wire(self) -> Option<i32> {
        Some(match self {
            Self::Allow => wire::Decision::Allow.into(),
            Self::Deny => wire::Decision::Deny.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct OnlyA;

    impl AccessControl for OnlyA {
        async fn check_access(
            &self,
            pattern: &Pattern,
            _: &Requester,
        ) -> Result<Decision, ProviderError> {
            Ok(if pattern.as_str() == "a" {
                Decision::Allow
            } else {
                Decision::Deny
            })
        }
    }

    #[tokio::test]
    async fn all_patterns_must_be_allowed() {
        let requester = Requester::new(1, "x", "/bin/x");
        let ask = async |patterns: &[&str]| {
            let patterns: Vec<Pattern> =
                patterns.iter().map(|text| text.parse().unwrap()).collect();
            OnlyA
                .authorize(&patterns, &requester)
                .await
                .unwrap()
                .decision
        };
        assert_eq!(ask(&["a", "a"]).await, Decision::Allow);
        assert_eq!(ask(&["a", "b"]).await, Decision::Deny);
    }

    #[test]
    fn an_unknown_path_is_none_and_not_a_guess() {
        assert_eq!(Requester::from_wire(None).binary_path(), None);
        assert_eq!(
            Requester::new(1, "x", "/bin/x").binary_path(),
            Some(Path::new("/bin/x"))
        );
    }
}
