//! An access-control module: ids below `prod` may be read from nine to five (UTC), and only by installed programs.

use std::process::ExitCode;
use std::time::SystemTime;

use keyway_plugin_sdk::{AccessControl, Decision, Pattern, ProviderError, Requester, ResultExt};

struct OfficeHours;

impl AccessControl for OfficeHours {
    async fn check_access(
        &self,
        pattern: &Pattern,
        requester: &Requester,
    ) -> Result<Decision, ProviderError> {
        let production: Pattern = "prod/**".parse()?;
        if !pattern.overlaps(&production) {
            return Ok(Decision::Allow);
        }
        let seconds = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .or_internal("the clock is before 1970")?
            .as_secs();
        let hour = seconds / 3600 % 24;
        let installed = requester
            .binary_path()
            .is_some_and(|path| path.starts_with("/usr"));
        Ok(if (9..17).contains(&hour) && installed {
            Decision::Allow
        } else {
            Decision::Deny
        })
    }
}

fn main() -> ExitCode {
    keyway_plugin_sdk::run_access_control(OfficeHours)
}
