//! A panic fails one call. Neither the response nor the log holds its message, which may be a value.

use std::process::ExitCode;

use keyway_plugin_sdk::{Envelope, Pattern, ProviderError, Query, SecretsProvider, blocking};

struct Panicking;

impl SecretsProvider for Panicking {
    fn pattern(&self) -> Pattern {
        "panic/*".parse().expect("a constant pattern")
    }

    async fn get_secrets(&self, query: &Query) -> Result<Vec<Envelope>, ProviderError> {
        let secret = Envelope::new("panic/not".parse()?, "not-a-real-secret");
        match query.pattern().as_str() {
            "panic/here" => panic!("cannot parse {:?}", secret.value.expose()),
            "panic/elsewhere" => blocking(move || panic!("{:?}", secret.value.expose())).await,
            _ => Ok(vec![secret]),
        }
    }
}

fn main() -> ExitCode {
    keyway_plugin_sdk::run(Panicking)
}
