//! Memory that a plugin frees contains no value.
//!
//! A test program of its own, because its allocator searches every freed block, and the plugin is a process of its own, so
//! that the memory of its daemon does not count. The provider's own memory is never freed.

mod common;

use std::process::ExitCode;
use std::time::Duration;

use keyway_plugin_sdk::testing::block_on;
use keyway_plugin_sdk::{
    Envelope, ErrorKind, Id, Pattern, Plugin, ProviderError, Query, SecretsProvider, blocking,
    command,
};
use keyway_test_support::FreedMemory;

use common::{External, is_plugin, text};

/// The content of every value.
const CANARY: &str = "canary-7f3a9c51e8";
const TEST: &str = "freed_memory_contains_no_value";

#[global_allocator]
static FREED: FreedMemory = FreedMemory::new(&[CANARY.as_bytes()]);

/// A value that is never freed.
fn value(n_canaries: usize) -> &'static str {
    CANARY.repeat(n_canaries).leak()
}

struct Vault;

impl SecretsProvider for Vault {
    fn pattern(&self) -> Pattern {
        "vault/*".parse().unwrap()
    }

    async fn get_secrets(&self, query: &Query) -> Result<Vec<Envelope>, ProviderError> {
        let id = query.require_id()?;
        let run = |script: &str| command("sh", query).args(["-c", script]);
        match id.as_str() {
            "vault/small" => one(id, value(1)),
            "vault/large" => one(id, value(20_000)),
            "vault/blocking" => one(id, blocking(|| Ok(value(100))).await?),
            "vault/command" => {
                // The canary is not an argument of the shell: it would be in the memory of the builder, which the author owns.
                let output = run("cat; cat >&2 /dev/null")
                    .input(value(5000))
                    .output()
                    .await?;
                let output = output.require_success()?;
                drop((output.first_line(), output.trimmed()));
                Ok(vec![Envelope::new(id, output.stdout)])
            }
            "vault/stderr" => {
                let failed = run("cat >&2; exit 1").input(value(5000)).output().await?;
                failed.require_success()?;
                Ok(vec![])
            }
            "vault/flood" => {
                let flood = run("cat").input(value(5000)).max_output(50_000);
                flood.output().await?;
                Ok(vec![])
            }
            "vault/late" => {
                // Ends after the deadline of its call, with some of the value written and read.
                run("cat; sleep 60").input(value(100)).output().await?;
                Ok(vec![])
            }
            "vault/unprotected" => {
                drop(std::hint::black_box(value(1).to_owned()));
                Ok(vec![])
            }
            _ => one(id, &FREED.n_found().to_string()),
        }
    }
}

fn one(id: Id, value: &str) -> Result<Vec<Envelope>, ProviderError> {
    Ok(vec![Envelope::new(id, value)])
}

#[test]
fn freed_memory_contains_no_value() -> ExitCode {
    if is_plugin() {
        FREED.start();
        return Plugin::new("vault").run(Vault);
    }
    block_on(async {
        let mut plugin = External::start(TEST, |command| {
            command
                .env("RUST_LOG", "trace")
                .env_remove("RUST_BACKTRACE");
        })
        .await;
        let log = plugin.log();
        let daemon = &plugin.daemon;
        let found = async || text(daemon, "vault/found").await;
        for (id, n_canaries) in [
            ("small", 1),
            ("large", 20_000),
            ("blocking", 100),
            ("command", 5000),
        ] {
            assert_eq!(
                text(daemon, &format!("vault/{id}")).await,
                value(n_canaries),
                "{id}"
            );
            assert_eq!(found().await, "0", "of {id}");
        }
        for (id, kind) in [
            ("stderr", ErrorKind::Unavailable),
            ("flood", ErrorKind::Internal),
        ] {
            let error = daemon.get(&format!("vault/{id}")).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(!error.message().contains(CANARY));
            assert_eq!(found().await, "0", "of {id}");
        }
        let late = daemon.call("vault/late").within(Duration::from_secs(1));
        assert_eq!(late.get().await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(found().await, "0", "of late");
        daemon.get("vault/unprotected").await.unwrap_err();
        assert_ne!(found().await, "0", "the search finds a copy");
        let (status, log) = plugin.stop(log).await;
        assert!(status.success());
        assert!(
            log.iter().any(|line| line.contains("command failed")),
            "it does log"
        );
        let exposed: Vec<&String> = log.iter().filter(|line| line.contains(CANARY)).collect();
        assert_eq!(exposed, Vec::<&String>::new());
    });
    ExitCode::SUCCESS
}
