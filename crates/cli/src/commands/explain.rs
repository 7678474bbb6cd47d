//! `keyway get --explain`: how the daemon resolves a query.

use keyway_local::escape_untrusted;
use keyway_proto::keyway::v1::{
    ExplainRequest, ExplainResponse, ExplainedId, ExplainedProvider, FailureKind,
    ManagementServiceClient, Outcome,
};
use keyway_resolver::Pattern;
use serde::Serialize;

use crate::daemon::{self, Daemon};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output::{self, Table, json};
use crate::waiting;

/// How a query was resolved; the output of `--json`.
#[derive(Debug, Serialize)]
struct Explanation {
    ids: Vec<Explained>,
    /// The providers that failed; for a pattern they may hold further ids.
    failed: Vec<Failed>,
}

/// A provider that failed.
#[derive(Debug, Serialize)]
struct Failed {
    name: String,
    /// The kind of failure, such as `LOCKED`.
    kind: &'static str,
    message: String,
}

/// How one id was resolved.
#[derive(Debug, Serialize)]
struct Explained {
    id: String,
    outcome: &'static str,
    provider: Option<String>,
    providers: Vec<Provider>,
}

/// The outcome of one provider.
#[derive(Debug, Serialize)]
struct Provider {
    rank: Option<u32>,
    name: String,
    outcome: &'static str,
    /// The kind of failure, such as `LOCKED`.
    kind: Option<&'static str>,
    version: String,
    message: String,
}

/// Prints how the daemon resolves the pattern: ranks, calls and outcomes, never values.
pub(super) async fn run(
    daemon: &Daemon,
    pattern: &Pattern,
    globals: &Globals,
) -> Result<Exit, Failure> {
    let client = ManagementServiceClient::from(daemon.rpc());
    let request = ExplainRequest {
        pattern: Some(pattern.to_string()),
    };
    let patterns = std::slice::from_ref(pattern);
    let response = waiting::show(daemon, globals, patterns, client.explain(request)).await;
    let response = response.map_err(|error| daemon::explain_failure(pattern, error.into()))?;
    let explanation = Explanation::from(response.into_message());
    if globals.json {
        return output::print_text(json::line(&explanation));
    }
    let Explanation { ids, failed } = explanation;
    if ids.is_empty() && failed.is_empty() {
        output::note(format_args!("no secret matches {pattern}"));
    }
    let mut parts: Vec<String> = ids.iter().map(Explained::text).collect();
    if pattern.as_id().is_none() && !failed.is_empty() {
        parts.push(failed_text(&failed));
    }
    output::print_text(parts.join("\n"))
}

/// Formats the providers that failed for a pattern.
fn failed_text(failed: &[Failed]) -> String {
    let mut table = Table::new(["PROVIDER", "OUTCOME", "MESSAGE"]);
    for failed in failed {
        let outcome = format!("failed: {}", kind_word(failed.kind));
        table.push([&failed.name, &outcome, &failed.message]);
    }
    format!("other ids of these providers: uncertain\n{table}")
}

/// Formats a kind of failure for the user.
fn kind_word(kind: &str) -> String {
    kind.to_lowercase().replace('_', " ")
}

impl From<ExplainResponse> for Explanation {
    fn from(response: ExplainResponse) -> Self {
        let failed = response.failed.into_iter().map(|failure| Failed {
            kind: failure.kind().name(),
            name: failure.name.unwrap_or_default(),
            message: failure.message.unwrap_or_default(),
        });
        Self {
            failed: failed.collect(),
            ids: response.ids.into_iter().map(Explained::from).collect(),
        }
    }
}

impl From<ExplainedId> for Explained {
    fn from(explained: ExplainedId) -> Self {
        Self {
            outcome: match explained.outcome() {
                Outcome::Failed => "uncertain",
                outcome => word(outcome),
            },
            id: explained.id.unwrap_or_default(),
            provider: explained.provider,
            providers: explained.providers.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<ExplainedProvider> for Provider {
    fn from(provider: ExplainedProvider) -> Self {
        let kind = Some(provider.kind()).filter(|kind| *kind != FailureKind::Unspecified);
        Self {
            outcome: word(provider.outcome()),
            kind: kind.map(FailureKind::name),
            rank: provider.rank,
            name: provider.name.unwrap_or_default(),
            version: provider.version.unwrap_or_default(),
            message: provider.message.unwrap_or_default(),
        }
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Value => "value",
        Outcome::Nothing => "no matching secret",
        Outcome::Failed => "failed",
        Outcome::NotCalled => "not called",
        Outcome::Excluded => "excluded",
        Outcome::Conflict => "conflict",
        Outcome::Unspecified => "unknown",
    }
}

impl Explained {
    fn text(&self) -> String {
        let provider = match &self.provider {
            Some(provider) => format!(" of {}", escape_untrusted(provider)),
            None => String::new(),
        };
        let mut table = Table::new(["RANK", "PROVIDER", "OUTCOME", "VERSION", "MESSAGE"]);
        for provider in &self.providers {
            let rank = provider.rank.map(|rank| rank.to_string());
            let outcome = match provider.kind {
                Some(kind) => format!("{}: {}", provider.outcome, kind_word(kind)),
                None => provider.outcome.to_owned(),
            };
            table.push([
                &rank.unwrap_or_default(),
                &provider.name,
                &outcome,
                &provider.version,
                &provider.message,
            ]);
        }
        format!(
            "{}: {}{provider}\n{table}",
            escape_untrusted(&self.id),
            self.outcome
        )
    }
}
