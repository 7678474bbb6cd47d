//! Any bytes from an HTTP/1.1 server: the exchange ends, and the pieces in which the bytes arrive, whose length the first
//! byte gives, do not matter.
#![no_main]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use keyway_fuzz::{Wire, block_on};
use keyway_http::{Exchange, ExchangeError};
use libfuzzer_sys::fuzz_target;
use tower_service::Service;

fuzz_target!(|input: &[u8]| {
    let Some((piece, response)) = input.split_first() else {
        return;
    };
    for method in [Method::POST, Method::HEAD] {
        let whole = exchange(&method, vec![response.to_vec()]);
        let pieces = response
            .chunks(usize::from(*piece).max(1))
            .map(<[u8]>::to_vec);
        let in_pieces = exchange(&method, pieces.collect());
        match (whole, in_pieces) {
            (Ok(whole), Ok(in_pieces)) => assert_eq!(whole, in_pieces),
            // The fault of a head that is found first depends on the part that has arrived.
            (Err(ExchangeError::Malformed { .. }), Err(ExchangeError::Malformed { .. })) => {}
            (Err(whole), Err(in_pieces)) => assert_eq!(whole.to_string(), in_pieces.to_string()),
            (whole, in_pieces) => panic!("{whole:?} is not {in_pieces:?}"),
        }
    }
});

type Outcome = (StatusCode, HeaderMap, Bytes);

fn exchange(method: &Method, pieces: Vec<Vec<u8>>) -> Result<Outcome, ExchangeError> {
    let request = Request::builder()
        .method(method)
        .uri("http://localhost/x")
        .body(Full::<Bytes>::from("request"))
        .expect("a plain request");
    block_on(async {
        let response = Exchange::new(Connector(pieces)).call(request).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok((parts.status, parts.headers, body))
    })
}

/// Makes one connection.
struct Connector(Vec<Vec<u8>>);

impl Service<Uri> for Connector {
    type Response = Wire;
    type Error = Infallible;
    type Future = Ready<Result<Wire, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let pieces = std::mem::take(&mut self.0);
        ready(Ok(Wire::new(pieces, true)))
    }
}
