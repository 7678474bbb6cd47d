//! Any response to a Connect client, above all errors: the call ends, and its error can be shown.
#![no_main]

use std::{convert::Infallible, future::Ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use keyway_fuzz::{ECHO, Head, READ, Text, block_on, parse};
use keyway_rpc::{
    Body, Codec,
    client::{Client, Config},
};
use libfuzzer_sys::fuzz_target;
use tower_service::Service;

fuzz_target!(|input: &[u8]| {
    let Some(head) = parse(input) else { return };
    let Some(response) = response(&head) else {
        return;
    };
    for codec in [Codec::Proto, Codec::Json] {
        for spec in [&ECHO, &READ] {
            let config = Config::default().codec(codec).get(true);
            let client = Client::with_config(Canned(response.clone()), config);
            let request = keyway_rpc::Request::new(Text::default());
            let outcome = block_on(client.unary::<Text, Text>(spec, request));
            if let Err(error) = outcome {
                let shown = format!("{error} {error:?} {}", error.code());
                assert!(!shown.is_empty());
                for detail in error.details() {
                    assert!(!detail.type_name().contains('/'));
                }
            }
        }
    }
});

fn response(head: &Head<'_>) -> Option<Response<Full<Bytes>>> {
    let [status] = head.words[..] else {
        return None;
    };
    let body = Full::from(head.body.to_vec());
    let mut response = Response::builder().status(status).body(body).ok()?;
    *response.headers_mut() = head.headers.clone();
    Some(response)
}

/// A transport with one response.
#[derive(Clone)]
struct Canned(Response<Full<Bytes>>);

impl Service<Request<Body>> for Canned {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        std::future::ready(Ok(self.0.clone()))
    }
}
