//! Children of a plugin do not inherit its connection: serves the environment and the open descriptors of a child as two
//! secrets. Also reconnects after a restart of the daemon and prints to stdout.
#![allow(
    clippy::print_stdout,
    reason = "shows that the SDK does not use stdout"
)]

use std::process::ExitCode;

use keyway_plugin_sdk::{
    Backoff, Envelope, Listed, Pattern, Plugin, ProviderError, Query, SecretsProvider, command,
};

struct Inherited;

/// Ids, and the commands whose output is their value.
const COMMANDS: [(&str, &str, &[&str]); 2] = [
    ("inherited/environment", "env", &[]),
    ("inherited/descriptors", "ls", &["-l", "/proc/self/fd"]),
];

impl SecretsProvider for Inherited {
    fn pattern(&self) -> Pattern {
        "inherited/*".parse().expect("a constant pattern")
    }

    fn version(&self) -> &str {
        keyway_plugin_sdk::version!()
    }

    async fn get_secrets(&self, query: &Query) -> Result<Vec<Envelope>, ProviderError> {
        println!("query for {}", query.pattern());
        let mut found = Vec::new();
        for (id, program, arguments) in COMMANDS {
            let id = id.parse()?;
            if query.matches(&id) {
                let run = command(program, query).args(arguments).output();
                found.push(Envelope::new(id, run.await?.require_success()?.stdout));
            }
        }
        Ok(found)
    }

    async fn list_secrets(&self, query: &Query) -> Result<Vec<Listed>, ProviderError> {
        let ids: Result<Vec<_>, _> = COMMANDS.iter().map(|(id, ..)| id.parse()).collect();
        Ok(ids?
            .into_iter()
            .filter(|id| query.matches(id))
            .map(Listed::new)
            .collect())
    }
}

fn main() -> ExitCode {
    Plugin::new("inherited")
        .reconnect(Backoff::default())
        .run(Inherited)
}
