//! The generated services with JSON, as `curl` calls them.
#![cfg(all(feature = "server", feature = "json"))]

use keyway_proto::resolver::v1::{
    GetSecretsRequest, GetSecretsResponse, ResolverService, ResolverServiceServer,
    resolver_service_methods,
};
use keyway_rpc::{Body, Error, Request, Response, Router};
use keyway_secrets::Envelope;
use tower_service::Service as _;

struct Provider;

impl ResolverService for Provider {
    async fn get_secrets(
        &self,
        request: Request<GetSecretsRequest>,
    ) -> Result<Response<GetSecretsResponse>, Error> {
        let id = request
            .message()
            .pattern()
            .parse()
            .map_err(|error| Error::invalid_argument(format!("{error}")))?;
        let mut envelope = Envelope::new(id, b"\x00dummy\xff".as_slice());
        envelope.created_at = Some(std::time::UNIX_EPOCH);
        Ok(Response::new(GetSecretsResponse {
            envelopes: vec![envelope.into()],
        }))
    }
}

async fn post(json: &str) -> (http::StatusCode, String) {
    let mut router = Router::new().add_service(ResolverServiceServer::new(Provider));
    let request = http::Request::post("/resolver.v1.ResolverService/GetSecrets")
        .header("content-type", "application/json")
        .body(Body::full(json.to_owned()))
        .unwrap();
    let (parts, body) = router.call(request).await.unwrap().into_parts();
    let bytes = http_body_util::BodyExt::collect(body)
        .await
        .unwrap()
        .to_bytes();
    (parts.status, String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn values_are_base64_and_times_rfc_3339() {
    let (status, body) = post(r#"{"pattern":"demo/hit","later":1}"#).await;
    assert_eq!(status, 200, "{body}");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let envelope = &body["envelopes"][0];
    assert_eq!(envelope["id"], "demo/hit");
    assert_eq!(envelope["value"], "AGR1bW15/w==");
    assert_eq!(envelope["createdAt"], "1970-01-01T00:00:00Z");
    assert_eq!(envelope["expiresAt"], "0001-01-01T00:00:00Z");
    assert_eq!(envelope["provider"], "", "presence is explicit");
}

#[tokio::test]
async fn errors_are_json_too() {
    let (status, body) = post(r#"{"pattern":"//"}"#).await;
    assert_eq!(status, 400);
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["code"], "invalid_argument");
}

#[test]
fn methods_that_carry_values_are_sensitive() {
    assert!(resolver_service_methods::GET_SECRETS.is_sensitive());
    assert!(!keyway_proto::keyway::v1::catalog_service_methods::LIST_SECRETS.is_sensitive());
}
