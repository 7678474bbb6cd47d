//! An access-control module that allows every request, for `e2e-ratios`.

use std::process::ExitCode;

use keyway_plugin_sdk::{AccessControl, Decision, Pattern, ProviderError, Requester};

struct AllowAll;

impl AccessControl for AllowAll {
    async fn check_access(&self, _: &Pattern, _: &Requester) -> Result<Decision, ProviderError> {
        Ok(Decision::Allow)
    }
}

fn main() -> ExitCode {
    keyway_plugin_sdk::run_access_control(AllowAll)
}
