//! The provider that serves the variables.

use std::collections::BTreeMap;

use keyway_plugin_sdk::{
    Description, Envelope, Id, Listed, Pattern, ProviderError, Query, SecretValue, SecretsProvider,
};

use crate::Config;

/// A provider that serves environment variables as they were when the plugin started.
#[derive(Debug)]
pub struct EnvProvider {
    pattern: Pattern,
    values: BTreeMap<Id, SecretValue>,
    /// Names of the variables that are not set, by id.
    missing: BTreeMap<Id, String>,
}

impl EnvProvider {
    /// Creates a provider of the variables that `config` names. One that is not set is logged, and queries for its id fail.
    pub fn new(config: &Config, lookup: impl Fn(&str) -> Option<std::ffi::OsString>) -> Self {
        let (values, missing) = config.read(lookup);
        for variable in missing.values() {
            keyway_plugin_sdk::tracing::warn!(
                "{variable} is not set; list it in `pass_env` of [plugins.env] so that the daemon passes it on"
            );
        }
        Self {
            pattern: config.pattern(),
            values,
            missing,
        }
    }

    /// Marks the response as incomplete if a variable of the query is not set.
    fn report_missing(&self, query: &Query) {
        let mut missing = self.missing.iter().filter(|(id, _)| query.matches(id));
        if let Some((id, variable)) = missing.next() {
            query.incomplete(not_set(id, variable));
        }
    }
}

/// The secret is configured, so `NotFound` would mislead the user.
fn not_set(id: &Id, variable: &str) -> ProviderError {
    ProviderError::unavailable(format!("the variable {variable} of {id} is not set")).with_remedy(
        format!(
            "set {variable} where the daemon starts, and list it in `pass_env` of [plugins.env]"
        ),
    )
}

impl SecretsProvider for EnvProvider {
    fn pattern(&self) -> Pattern {
        self.pattern.clone()
    }

    fn version(&self) -> &str {
        keyway_plugin_sdk::version!()
    }

    fn describe(&self) -> Description {
        Description::new()
            .description("Environment variables that the configuration names")
            .shareable(true)
            .lists(true)
    }

    async fn get_secrets(&self, query: &Query) -> Result<Vec<Envelope>, ProviderError> {
        self.report_missing(query);
        let matching = self.values.iter().filter(|(id, _)| query.matches(id));
        Ok(matching
            .map(|(id, value)| Envelope::new(id.clone(), value.clone()))
            .collect())
    }

    async fn list_secrets(&self, query: &Query) -> Result<Vec<Listed>, ProviderError> {
        self.report_missing(query);
        let matching = self.values.keys().filter(|id| query.matches(id));
        Ok(matching.cloned().map(Listed::new).collect())
    }
}
