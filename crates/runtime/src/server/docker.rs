//! `POST /internal/secrets`, with which programs of Docker's ecosystem store secrets: each request becomes a call of `DockerService`,
//! so that it has the limits, the authorization and the record of every other write.

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use keyway_http::RequestBody;
use keyway_rpc::{Body, Code, Router};
use serde::{Deserialize, Serialize};
use tower_service::Service as _;

use super::routes::Fallback;

pub(super) const PATH: &str = "/internal/secrets";

/// The method that the requests become.
const METHOD: &str = "/keyway.store.v1.DockerService/Store";

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// In the extensions of a request that came by [`PATH`]; the service takes no other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DockerWrite {
    /// `true` if the value may replace one.
    pub(crate) overwrites: bool,
}

/// The error of an RPC as it is on the wire.
#[derive(Deserialize)]
struct RpcError {
    code: String,
    #[serde(default)]
    message: String,
}

/// The body of a refusal.
#[derive(Serialize)]
struct Refusal<'a> {
    error: &'a str,
}

/// Returns 201 with the version, 409 if the secret exists or another provider's value would be returned instead, or another refusal.
pub(super) async fn respond(
    mut router: Router<Fallback>,
    request: Request<RequestBody>,
) -> Response<Body> {
    if request.method() != Method::POST {
        let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, "use POST to store a secret");
        let allowed = HeaderValue::from_static("POST");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    let write = DockerWrite {
        overwrites: overwrites(request.uri().query().unwrap_or_default()),
    };
    let (mut head, body) = request.into_parts();
    head.uri = Uri::from_static(METHOD);
    head.extensions.insert(write);
    head.headers.insert(CONTENT_TYPE, JSON);
    // The response is read here.
    head.headers.remove(ACCEPT_ENCODING);
    match router.call(Request::from_parts(head, body)).await {
        Ok(response) => translate(response).await,
        Err(never) => match never {},
    }
}

fn overwrites(query: &str) -> bool {
    query
        .split('&')
        .any(|pair| matches!(pair, "overwrite=true" | "overwrite=1"))
}

/// Turns the response of the RPC into that of the path.
async fn translate(mut response: Response<Body>) -> Response<Body> {
    if response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::CREATED;
        return response;
    }
    let status = response.status();
    let body = response.into_body().collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let Ok(error) = serde_json::from_slice::<RpcError>(&body) else {
        return refuse(status, "the write was refused");
    };
    let is_outranked = error.code == Code::FailedPrecondition.as_str();
    let status = if is_outranked {
        StatusCode::CONFLICT
    } else {
        status
    };
    refuse(status, &error.message)
}

fn refuse(status: StatusCode, why: &str) -> Response<Body> {
    let body = serde_json::to_vec(&Refusal { error: why });
    let body = body.expect("a text is valid JSON");
    let mut response = Response::new(Body::from(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_parameter_of_that_name_overwrites() {
        for (query, expected) in [
            ("", false),
            ("overwrite=true", true),
            ("a=b&overwrite=1", true),
            ("overwrite=false", false),
            ("overwrite", false),
            ("no_overwrite=true", false),
        ] {
            assert_eq!(overwrites(query), expected, "{query}");
        }
    }
}
