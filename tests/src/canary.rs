//! A provider on the SDK whose one value is a canary: a text that must be in the response to its caller and nowhere else.

use std::future::pending;
use std::process::ExitCode;

use keyway_plugin_sdk::{Envelope, Listed, Pattern, Plugin, ProviderError, Query, SecretsProvider};

/// The canary.
pub const CANARY: &str = "canary-5d1f0c77a9b3e864";

/// Runs the plugin. Its realm is `vault/**`.
pub fn run() -> ExitCode {
    Plugin::new("vault").run(Vault)
}

struct Vault;

impl SecretsProvider for Vault {
    fn pattern(&self) -> Pattern {
        "vault/**".parse().expect("a pattern")
    }

    /// `vault/held` and patterns have the value. `vault/panics` panics and `vault/late` does not respond while the value is in scope;
    /// `vault/half` returns it and fails for the rest.
    async fn get_secrets(&self, query: &Query) -> Result<Vec<Envelope>, ProviderError> {
        let Ok(id) = query.require_id() else {
            return Ok(vec![envelope("vault/held")]);
        };
        let value = envelope(id.as_str());
        match id.as_str() {
            "vault/panics" => panic!("the handler of {query:?} failed with {value:?}"),
            "vault/late" => {
                pending::<()>().await;
                Ok(vec![value])
            }
            "vault/half" => {
                query.incomplete(ProviderError::locked("a part of the store is locked"));
                Ok(vec![value])
            }
            "vault/held" | "vault/denied" => Ok(vec![value]),
            _ => Ok(Vec::new()),
        }
    }

    async fn list_secrets(&self, query: &Query) -> Result<Vec<Listed>, ProviderError> {
        query.incomplete(ProviderError::unavailable("a part of the store is away"));
        Ok(vec![Listed::new(envelope("vault/held").id)])
    }
}

fn envelope(id: &str) -> Envelope {
    Envelope::new(id.parse().expect("an id"), CANARY)
}
