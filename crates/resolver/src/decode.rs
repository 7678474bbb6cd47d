//! Converts messages into the results of the client.

use keyway_proto::keyway::v1 as wire;
use keyway_proto::keyway::v1::unlisted::Reason;
use keyway_proto::resolver::v1::{AuthorizeResponse, Decision, GetSecretsResponse};
use keyway_proto::timestamp;
use keyway_secrets::{Envelope, Id, Pattern};

use crate::{
    Authorization, Catalog, Entry, FailureKind, GetOneError, ProviderFailure, Rejected,
    ResolveError, Secrets, Unlisted, UnlistedReason,
};

/// Converts envelopes and separates those that do not match the query.
pub(crate) fn secrets(
    query: &Pattern,
    response: GetSecretsResponse,
    failures: Vec<ProviderFailure>,
) -> Secrets {
    let mut secrets = Secrets {
        failures,
        ..Secrets::default()
    };
    for envelope in response.envelopes {
        match Envelope::try_from(envelope) {
            Ok(envelope) if query.matches(&envelope.id) => secrets.envelopes.push(envelope),
            Ok(envelope) => secrets.rejected.push(Rejected::NotRequested {
                id: envelope.id.clone(),
            }),
            Err(error) => secrets.rejected.push(error.into()),
        }
    }
    secrets
}

/// Returns the only secret of a result, if it is certain.
pub(crate) fn only(id: &Id, mut secrets: Secrets) -> Result<Envelope, GetOneError> {
    if let Some(rejected) = secrets.rejected.first() {
        let message = format!("beside {id}, {rejected}");
        return Err(ResolveError::InvalidResponse { message }.into());
    }
    if !secrets.failures.is_empty() {
        let failed = secrets.failed_providers().join(", ");
        return Err(ResolveError::Uncertain {
            message: format!("{id} is uncertain, because these providers failed: {failed}"),
            failures: secrets.failures,
        }
        .into());
    }
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
    // Keyway's daemon returns `not_found` itself; a success without a secret is equivalent.
    secrets.envelopes.pop().ok_or_else(|| {
        let message = format!("there is no secret {id}");
        ResolveError::NotFound { message }.into()
    })
}

pub(crate) fn authorization(response: AuthorizeResponse) -> Authorization {
    Authorization {
        allowed: response.decision() == Decision::Allow,
        // An invalid time counts as expired, so that the authorization is not used later.
        expires_at: timestamp::from_wire(response.expires_at)
            .unwrap_or(Some(std::time::UNIX_EPOCH)),
    }
}

pub(crate) fn catalog(
    response: wire::ListSecretsResponse,
    mut failures: Vec<ProviderFailure>,
) -> Catalog {
    // A daemon that does not describe failures names the providers in the message only.
    for unlisted in &response.unlisted {
        let name = unlisted.provider();
        if unlisted.reason() == Reason::Failed && failures.iter().all(|known| known.name != name) {
            failures.push(ProviderFailure {
                name: name.to_owned(),
                message: unlisted.message().to_owned(),
                ..ProviderFailure::default()
            });
        }
    }
    failures.retain(|failure| failure.kind != FailureKind::CannotList);
    let mut catalog = Catalog {
        failures,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(name: &str, kind: FailureKind) -> ProviderFailure {
        ProviderFailure {
            name: name.to_owned(),
            kind,
            ..ProviderFailure::default()
        }
    }

    fn unlisted(name: &str, reason: Reason) -> wire::Unlisted {
        let mut unlisted = wire::Unlisted {
            provider: Some(name.to_owned()),
            message: Some("no agent".to_owned()),
            ..wire::Unlisted::default()
        };
        unlisted.set_reason(reason);
        unlisted
    }

    #[test]
    fn a_catalog_has_each_failed_provider_once_and_none_that_cannot_list() {
        let response = wire::ListSecretsResponse {
            unlisted: vec![
                unlisted("described", Reason::Failed),
                unlisted("named", Reason::Failed),
                unlisted("ids-only", Reason::CannotList),
            ],
            ..wire::ListSecretsResponse::default()
        };
        let described = vec![
            failure("described", FailureKind::Locked),
            failure("ids-only", FailureKind::CannotList),
        ];
        let failures = catalog(response, described).failures;
        let named = ProviderFailure {
            message: "no agent".to_owned(),
            ..failure("named", FailureKind::Unknown)
        };
        assert_eq!(failures, [failure("described", FailureKind::Locked), named]);
    }
}
