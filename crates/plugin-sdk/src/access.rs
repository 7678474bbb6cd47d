//! The trait of an access-control module.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use keyway_proto::accesscontrol::v1 as wire;
use keyway_secrets::Pattern;

use crate::ProviderError;

/// An access-control module: decides which callers may read secrets.
///
/// The daemon calls all its modules for every request, and one denial is enough. An error, a panic or a late response
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
    /// Returns the plugin's version, a Go semver such as `v1.2.3`. Default: `v0.0.0`.
    fn version(&self) -> &str {
        "v0.0.0"
    }

    /// Decides whether the requester may read, now, the secrets that the pattern matches.
    ///
    /// # Errors
    ///
    /// Returns a [`ProviderError`] if the module cannot decide, which denies access.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped at its next await when the caller's deadline passes.
    fn check_access(
        &self,
        pattern: &Pattern,
        requester: &Requester,
    ) -> impl Future<Output = Result<Decision, ProviderError>> + Send;

    /// Decides whether the requester may read all of the patterns later. Default: the result of
    /// [`check_access`](Self::check_access) for each pattern, without a promise for later.
    ///
    /// # Errors
    ///
    /// Returns a [`ProviderError`] if the module cannot decide, which denies access.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped at its next await when the caller's deadline passes.
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

/// The decision of an access-control module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "there is no third decision")]
pub enum Decision {
    /// The requester may read.
    Allow,
    /// The requester may not read.
    Deny,
}

/// The result of [`AccessControl::authorize`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Authorization {
    /// The decision for all patterns together.
    pub decision: Decision,
    /// Expiry of the decision; `None` if it is not known.
    pub expires_at: Option<SystemTime>,
}

impl Authorization {
    /// Allows all patterns, at least until `expires_at`.
    #[must_use]
    pub fn allow_until(expires_at: SystemTime) -> Self {
        Self {
            decision: Decision::Allow,
            expires_at: Some(expires_at),
        }
    }

    /// Denies at least one pattern.
    #[must_use]
    pub fn deny() -> Self {
        Self {
            decision: Decision::Deny,
            expires_at: None,
        }
    }
}

/// The calling program, as identified by the daemon.
///
/// The process id comes from the kernel; path and name are advisory, because another program of the same user can
/// assume them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requester {
    pid: i32,
    name: String,
    binary_path: PathBuf,
}

impl Requester {
    /// Creates a requester, for a test of a module.
    #[must_use]
    pub fn new(pid: i32, name: impl Into<String>, binary_path: impl Into<PathBuf>) -> Self {
        Self {
            pid,
            name: name.into(),
            binary_path: binary_path.into(),
        }
    }

    /// Returns the process id; zero if the daemon could not determine it.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Returns the program's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the path of the executable, if the daemon could read it.
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
        let authorize = async |patterns: &[&str]| {
            let patterns: Vec<Pattern> =
                patterns.iter().map(|text| text.parse().unwrap()).collect();
            OnlyA
                .authorize(&patterns, &requester)
                .await
                .unwrap()
                .decision
        };
        assert_eq!(authorize(&["a", "a"]).await, Decision::Allow);
        assert_eq!(authorize(&["a", "b"]).await, Decision::Deny);
    }

    #[test]
    fn an_unknown_path_is_none() {
        assert_eq!(Requester::from_wire(None).binary_path(), None);
        assert_eq!(
            Requester::new(1, "x", "/bin/x").binary_path(),
            Some(Path::new("/bin/x"))
        );
    }
}
