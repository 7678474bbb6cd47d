//! Serving the variables.

use std::collections::BTreeMap;

use keyway_plugin_sdk::{
    Envelope, Id, Listed, Pattern, ProviderError, Query, SecretValue, SecretsProvider,
};

use crate::Config;

/// Serves environment variables as they were when the plugin started.
#[derive(Debug)]
pub struct EnvProvider {
    pattern: Pattern,
    values: BTreeMap<Id, SecretValue>,
}

impl EnvProvider {
    /// Reads the variables that `config` names. A variable that is not set is no secret, and is told in the log.
    pub fn new(config: &Config, lookup: impl Fn(&str) -> Option<std::ffi::OsString>) -> Self {
        let (values, missing) = config.read(lookup);
        for variable in missing {
            keyway_plugin_sdk::tracing::warn!(
                "{variable} is not set; list it in `pass_env` of [plugins.env] so that the daemon passes it on"
            );
        }
        Self {
            pattern: config.pattern(),
            values,
        }
    }
}

impl SecretsProvider for EnvProvider {
    fn pattern(&self) -> Pattern {
        self.pattern.clone()
    }

    fn version(&self) -> &str {
        keyway_plugin_sdk::version!()
    }

    async fn get_secrets(&self, query: &Query) -> Result<Vec<Envelope>, ProviderError> {
        let matching = self.values.iter().filter(|(id, _)| query.matches(id));
        Ok(matching
            .map(|(id, value)| Envelope::new(id.clone(), value.clone()))
            .collect())
    }

    async fn list_secrets(&self, query: &Query) -> Result<Vec<Listed>, ProviderError> {
        let matching = self.values.keys().filter(|id| query.matches(id));
        Ok(matching.cloned().map(Listed::new).collect())
    }
}
