//! The secrets of the demo plugin, the same as those of the Go programs.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use keyway_plugin_sdk::{Envelope, Id, Pattern, ProviderError, Query, SecretsProvider};

/// The delay of the slow secret.
const SLOW: Duration = Duration::from_millis(1500);
/// The ids that a pattern finds besides `demo/many`.
const LISTED: [&str; 3] = ["demo/hit", "demo/notime", "demo/other"];
/// Number of secrets below `demo/many`.
const MANY: usize = 1000;
/// The length of the big secret.
const BIG: usize = 8 << 20;

/// A provider with one id for each case that a runtime must handle; `interop/README.md` lists them.
#[derive(Debug, Default, Clone, Copy)]
pub struct Demo;

impl SecretsProvider for Demo {
    fn pattern(&self) -> Pattern {
        "demo/**".parse().expect("a constant pattern")
    }

    fn version(&self) -> &str {
        "v1.2.3"
    }

    async fn get_secrets(&self, query: &Query) -> Result<Vec<Envelope>, ProviderError> {
        match query.pattern().as_str() {
            "demo/broken" => {
                return Err(ProviderError::internal(
                    "failed to get secret \"demo/broken\": backend exploded",
                ));
            }
            "demo/down" => return Err(ProviderError::unavailable("the backend is down")),
            "demo/panic" => panic!("the id demo/panic"),
            "demo/slow" => {
                tokio::time::sleep(SLOW).await;
                return Ok(vec![secret("demo/slow")]);
            }
            "demo/big" => return Ok(vec![secret("demo/big")]),
            _ => {}
        }
        if let Some(id) = query.pattern().as_id() {
            return Ok(known(id.as_str())
                .then(|| secret(id.as_str()))
                .into_iter()
                .collect());
        }
        let listed = LISTED.map(str::to_owned);
        let many = (0..MANY).map(|number| format!("demo/many/{number:04}"));
        let wanted = listed.into_iter().chain(many).filter(|id| {
            let id: Id = id.parse().expect("constant ids");
            query.matches(&id)
        });
        Ok(wanted.map(|id| secret(&id)).collect())
    }
}

/// Returns `true` if the provider holds this id.
fn known(id: &str) -> bool {
    let number = id
        .strip_prefix("demo/many/")
        .and_then(|number| number.parse().ok());
    LISTED.contains(&id) || number.is_some_and(|number: usize| number < MANY)
}

/// One secret with the fields that the Go programs expect.
fn secret(id: &str) -> Envelope {
    let name: Id = id.parse().expect("constant ids");
    let mut envelope = Envelope::new(name, value(id));
    envelope.version = "v7".to_owned();
    if !id.ends_with("/notime") {
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        envelope.created_at = at(1_735_787_045);
        envelope.expires_at = at(4_891_460_645);
        envelope
            .metadata
            .insert("owner".to_owned(), "nobody".to_owned());
    }
    envelope
}

/// The dummy value of an id. The big one is computed once, because in an unoptimised build it blocks the thread for long.
pub fn value(id: &str) -> Vec<u8> {
    if !id.ends_with("/big") {
        return format!("s3cr3t-value of {id}").into_bytes();
    }
    static VALUE: OnceLock<Vec<u8>> = OnceLock::new();
    let compute = || {
        let mut state = 1_u32;
        let byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        std::iter::repeat_with(byte).take(BIG).collect()
    };
    VALUE.get_or_init(compute).clone()
}
