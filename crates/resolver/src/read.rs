//! From messages to answers.

use keyway_proto::keyway::v1 as wire;
use keyway_proto::keyway::v1::unlisted::Reason;
use keyway_proto::resolver::v1::{AuthorizeResponse, Decision, GetSecretsResponse};
use keyway_proto::timestamp;
use keyway_secrets::{Envelope, Id, Pattern};

use crate::{
    Authorization, Catalog, Entry, GetOneError, Rejected, ResolveError, Secrets, Unlisted,
    UnlistedReason,
};

/// Reads envelopes and sorts out what was not asked for.
pub(crate) fn secrets(
    query: &Pattern,
    response: GetSecretsResponse,
    failed_providers: Vec<String>,
) -> Secrets {
    let mut secrets = Secrets {
        failed_providers,
        ..Secrets::default()
    };
    for envelope in response.envelopes {
        match Envelope::try_from(envelope) {
            Ok(envelope) if query.matches(&envelope.id) => secrets.envelopes.push(envelope),
            Ok(envelope) => secrets.rejected.push(Rejected::NotAskedFor {
                id: envelope.id.clone(),
            }),
            Err(error) => secrets.rejected.push(error.into()),
        }
    }
    secrets
}

/// The only secret of an answer.
pub(crate) fn only(id: &Id, mut secrets: Secrets) -> Result<Envelope, GetOneError> {
    if secrets.envelopes.len() > 1 {
        let providers = secrets
            .envelopes
            .into_iter()
            .map(|envelope| envelope.provider)
            .collect();
        return Err(GetOneError::Ambiguous {
            id: id.clone(),
            providers,
        });
    }
    secrets
        .envelopes
        .pop()
        .ok_or_else(|| nothing(id, &secrets).into())
}

/// A daemon says `not_found` by itself; a success without a secret means the same.
fn nothing(id: &Id, secrets: &Secrets) -> ResolveError {
    let message = match secrets.rejected.first() {
        None => format!("there is no secret {id}"),
        Some(rejected) => {
            format!("there is no secret {id}; the answer held something else: {rejected}")
        }
    };
    ResolveError::NotFound { message }
}

pub(crate) fn authorization(response: AuthorizeResponse) -> Authorization {
    Authorization {
        allowed: response.decision() == Decision::Allow,
        // A time that cannot be read is no permission to rely on the answer later.
        expires_at: timestamp::from_wire(response.expires_at)
            .unwrap_or(Some(std::time::UNIX_EPOCH)),
    }
}

pub(crate) fn catalog(response: wire::ListSecretsResponse) -> Catalog {
    let mut catalog = Catalog {
        unlisted: response.unlisted.into_iter().map(unlisted).collect(),
        ..Catalog::default()
    };
    for secret in response.secrets {
        match entry(secret) {
            Ok(entry) => catalog.entries.push(entry),
            Err(reason) => catalog.rejected.push(reason),
        }
    }
    catalog
}

fn entry(secret: wire::Secret) -> Result<Entry, String> {
    let id = secret.id.unwrap_or_default();
    let invalid = |error: &dyn std::fmt::Display| format!("the entry {id:?} is invalid: {error}");
    Ok(Entry {
        created_at: timestamp::from_wire(secret.created_at).map_err(|error| invalid(&error))?,
        expires_at: timestamp::from_wire(secret.expires_at).map_err(|error| invalid(&error))?,
        id: id.parse().map_err(|error| invalid(&error))?,
        provider: secret.provider.unwrap_or_default(),
        version: secret.version.unwrap_or_default(),
        metadata: secret.metadata,
    })
}

fn unlisted(unlisted: wire::Unlisted) -> Unlisted {
    let reason = match unlisted.reason() {
        Reason::CannotList => UnlistedReason::CannotList,
        Reason::Failed => UnlistedReason::Failed,
        Reason::Unspecified => UnlistedReason::Unknown,
    };
    Unlisted {
        reason,
        provider: unlisted.provider.unwrap_or_default(),
        realm: unlisted.pattern.and_then(|pattern| pattern.parse().ok()),
        message: unlisted.message.unwrap_or_default(),
    }
}
