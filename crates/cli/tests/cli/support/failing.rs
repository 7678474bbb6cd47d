//! The failures of providers that the scripted daemon reports.
//!
//! The id selects the failure: `kind/locked` is a failed provider with words of its own, `remedy/locked` one with a remedy, `wide/locked`
//! one whose realm is `**`, `fetch/locked` one that only a fetch detects.

use keyway_proto::FAILURES_HEADER;
use keyway_proto::keyway::v1::unlisted::Reason;
use keyway_proto::keyway::v1::{FailureKind, Failures, ListSecretsResponse, ProviderFailure};
use keyway_proto::resolver::v1::GetSecretsResponse;
use keyway_rpc::{BinaryMetadata as _, Error, ErrorDetail, Response};

use super::script::{envelope, unlisted};

fn failure(name: &str, kind: FailureKind, message: &str, remedy: &str) -> ProviderFailure {
    ProviderFailure {
        name: Some(name.to_owned()),
        kind: Some(kind.into()),
        message: Some(message.to_owned()),
        remedy: Some(remedy.to_owned()),
        ..ProviderFailure::default()
    }
}

/// The failures that an id of the script selects.
fn failures(id: &str) -> Option<Vec<ProviderFailure>> {
    let (how, name) = id.split_once('/')?;
    if id == "several/id" {
        return Some(vec![
            failure(
                "keyring",
                FailureKind::Unavailable,
                "connection refused",
                "",
            ),
            failure(
                "vault",
                FailureKind::Locked,
                "",
                "unlock it with `vault login`",
            ),
            failure("aws", FailureKind::Denied, "no policy allows it", ""),
        ]);
    }
    let name = format!("FAILURE_KIND_{}", name.to_uppercase());
    let kind = FailureKind::from_str_name(&name)?;
    let said = "words of the provider";
    Some(match (how, kind) {
        (_, FailureKind::Conflict) => vec![
            failure("keyring", kind, "", ""),
            failure("vault", kind, "", ""),
        ],
        ("kind" | "fetch", _) => vec![failure("vault", kind, said, "")],
        ("remedy", _) => vec![failure("vault", kind, said, "unlock it with `vault login`")],
        ("wide", _) => vec![failure("file", kind, said, "")],
        _ => return None,
    })
}

/// The error of a query for an id of the script.
pub(super) fn error(id: &str) -> Option<Error> {
    let providers = failures(id)?;
    let is_conflict = providers
        .iter()
        .all(|failure| failure.kind() == FailureKind::Conflict);
    let error = match is_conflict {
        true => Error::failed_precondition("providers disagree"),
        false => Error::unavailable("providers failed"),
    };
    Some(error.with_detail(ErrorDetail::new(&Failures { providers })))
}

/// The listing of an id of the script.
pub(super) fn listing(id: &str) -> Option<Response<ListSecretsResponse>> {
    let providers = failures(id)?;
    let reason = match id.starts_with("fetch/") {
        true => Reason::CannotList,
        false => Reason::Failed,
    };
    let unlisted = providers
        .iter()
        .filter(|failure| reason == Reason::CannotList || failure.kind() != FailureKind::Conflict)
        .map(|failure| {
            let reason = match failure.kind() {
                FailureKind::CannotList => Reason::CannotList,
                _ => reason,
            };
            unlisted(failure.name(), "kind/**", reason, failure.message())
        });
    let mut response = Response::new(ListSecretsResponse {
        unlisted: unlisted.collect(),
        ..ListSecretsResponse::default()
    });
    if reason == Reason::Failed {
        describe(&mut response, providers);
    }
    Some(response)
}

fn describe<M>(response: &mut Response<M>, providers: Vec<ProviderFailure>) {
    let failures = prost::Message::encode_to_vec(&Failures { providers });
    let headers = response.headers_mut();
    headers.append_binary(FAILURES_HEADER, &failures).unwrap();
}

/// One certain value, and a locked provider.
pub(super) fn beside_a_value() -> Response<GetSecretsResponse> {
    with_locked(&["half/one"])
}

/// Two certain values, and a locked provider.
pub(super) fn beside_values() -> Response<GetSecretsResponse> {
    with_locked(&["half/one", "half/two"])
}

fn with_locked(ids: &[&str]) -> Response<GetSecretsResponse> {
    let envelopes = ids
        .iter()
        .map(|id| envelope(id, b"dummy", "file"))
        .collect();
    let mut response = Response::new(GetSecretsResponse { envelopes });
    let locked = failure(
        "vault",
        FailureKind::Locked,
        "",
        "unlock it with `vault login`",
    );
    describe(&mut response, vec![locked]);
    response
}
