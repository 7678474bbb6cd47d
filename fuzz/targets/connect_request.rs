//! Any request to a Connect server: there is a response in every case, and clients can decode an error.
#![no_main]

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use keyway_fuzz::{Text, block_on, parse, router};
use keyway_rpc::{Body, Code};
use libfuzzer_sys::fuzz_target;
use prost::Message;
use tower_service::Service;

fuzz_target!(|input: &[u8]| {
    if let Some(request) = request(input) {
        block_on(async {
            let Ok(response) = router().call(request).await;
            check(response).await;
        });
    }
});

fn request(input: &[u8]) -> Option<Request<Full<Bytes>>> {
    let head = parse(input)?;
    let [method, uri] = head.words[..] else {
        return None;
    };
    let body = Full::from(head.body.to_vec());
    let mut request = Request::builder().method(method).uri(uri).body(body).ok()?;
    *request.headers_mut() = head.headers;
    Some(request)
}

async fn check(response: Response<Body>) {
    let (parts, body) = response.into_parts();
    let body = body
        .collect()
        .await
        .expect("a complete response")
        .to_bytes();
    let content_type = parts
        .headers
        .get(CONTENT_TYPE)
        .map(|value| value.as_bytes());
    match (parts.status, content_type) {
        (StatusCode::OK, Some(b"application/proto")) => {
            if !parts.headers.contains_key("content-encoding") {
                Text::decode(body).expect("the response is a message");
            }
        }
        (StatusCode::OK, content_type) => {
            assert_eq!(content_type, Some(b"application/json".as_slice()));
        }
        (status, Some(b"application/json")) => {
            let error: serde_json::Value =
                serde_json::from_slice(&body).expect("an error is an object");
            let code = error["code"].as_str().expect("an error has a code");
            code.parse::<Code>().expect("the code is known");
            assert!(status.is_client_error() || status.is_server_error());
        }
        (status, _) => assert!(status.is_client_error(), "{status}"),
    }
}
