//! The smallest plugin. Start it beside `keyway serve` with `cargo run --example greeting`, then `keyway get demo/greeting`.

use std::process::ExitCode;

use keyway_plugin_sdk::{Envelope, Pattern, ProviderError, Query, SecretsProvider};

struct Greeting;

impl SecretsProvider for Greeting {
    fn pattern(&self) -> Pattern {
        "demo/**".parse().expect("a constant pattern")
    }

    async fn get_secrets(&self, query: &Query) -> Result<Vec<Envelope>, ProviderError> {
        let id = "demo/greeting".parse()?;
        Ok(if query.matches(&id) {
            vec![Envelope::new(id, "hello")]
        } else {
            vec![]
        })
    }
}

fn main() -> ExitCode {
    keyway_plugin_sdk::run(Greeting)
}
