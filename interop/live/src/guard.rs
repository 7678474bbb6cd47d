//! The rules of the demo access-control module, the same as those of the Go
//! program.

use std::time::{Duration, SystemTime};

use keyway_plugin_sdk::{
    AccessControl, Authorization, Decision, Pattern, ProviderError, Requester,
};

/// A module that denies patterns that overlap the realm `denied` and allows the rest.
#[derive(Debug, Default, Clone, Copy)]
pub struct Guard;

impl AccessControl for Guard {
    fn version(&self) -> &str {
        "v1.2.3"
    }

    async fn check_access(
        &self,
        pattern: &Pattern,
        _: &Requester,
    ) -> Result<Decision, ProviderError> {
        let denied: Pattern = "denied/**".parse()?;
        Ok(if pattern.overlaps(&denied) {
            Decision::Deny
        } else {
            Decision::Allow
        })
    }

    async fn authorize(
        &self,
        patterns: &[Pattern],
        requester: &Requester,
    ) -> Result<Authorization, ProviderError> {
        for pattern in patterns {
            if self.check_access(pattern, requester).await? == Decision::Deny {
                return Ok(Authorization::deny());
            }
        }
        Ok(Authorization::allow_until(
            SystemTime::now() + Duration::from_secs(3600),
        ))
    }
}
