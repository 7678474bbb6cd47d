//! Memory of large messages: the reservations of a client for a response, and the life of a response's
//! extensions.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flate2::write::GzEncoder;
use http_body_util::BodyExt as _;
use keyway_rpc::client::{Client, Config, ReserveMemory, Transport};
use keyway_rpc::{Body, Code, Error, MethodSpec, Request, Response, Route, Router};
use keyway_test_support::body::Chunks;
use keyway_test_support::echo::{Alive, ECHO, Text, router};
use prost::Message as _;
use tokio::sync::Semaphore;
use tower::Service as _;

const MIB: u64 = 1024 * 1024;

fn text(bytes: u64) -> Text {
    Text::from("x".repeat(bytes as usize).as_str())
}

/// A budget of one large message at a time, which counts the reserved bytes.
#[derive(Clone)]
struct Budget {
    reserved: Arc<AtomicU64>,
    admission: Arc<Semaphore>,
}

impl Budget {
    fn new() -> Self {
        Self {
            reserved: Arc::default(),
            admission: Arc::new(Semaphore::new(1)),
        }
    }

    fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::SeqCst)
    }
}

impl ReserveMemory for Budget {
    async fn reserve(&self, bytes: u64) -> Result<(), Error> {
        if self.reserved() == 0 {
            let permit = self.admission.acquire().await.expect("it is never closed");
            permit.forget();
        }
        self.reserved.fetch_add(bytes, Ordering::SeqCst);
        Ok(())
    }

    fn release(&self, bytes: u64) {
        self.reserved.fetch_sub(bytes, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_response_waits_for_the_budget_and_a_small_one_never() {
    let client = Client::new(router(&Alive::default()));
    let call = |bytes, budget: &Budget| {
        let request = Request::new(text(bytes)).timeout(Duration::from_secs(5));
        client.unary::<Text, Text>(&ECHO, request.memory(budget.clone()))
    };
    let budget = Budget::new();
    call(3 * MIB, &budget).await.expect("the budget is free");
    assert!(budget.reserved() >= 3 * MIB, "{}", budget.reserved());
    // Another call of the same budget, whose reservations are its own.
    let waiting = Budget {
        reserved: Arc::default(),
        admission: Arc::clone(&budget.admission),
    };
    let error = call(3 * MIB, &waiting).await.expect_err("it is exhausted");
    assert_eq!(error.code(), Code::DeadlineExceeded);
    call(1000, &waiting).await.expect("small ones pass");
    assert_eq!(waiting.reserved(), 0);
    waiting.admission.add_permits(1);
    call(3 * MIB, &waiting).await.expect("the budget is free");
}

/// A transport whose every response is made by this function.
fn transport(
    response: impl Fn() -> http::Response<Body> + Clone + Send + 'static,
) -> impl Transport {
    tower::service_fn(move |_: http::Request<Body>| {
        std::future::ready(Ok::<_, std::convert::Infallible>(response()))
    })
}

/// A transport that responds with this message, compressed.
fn gzip(message: &[u8]) -> impl Transport {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(message).expect("a vector takes all");
    let body = encoder.finish().expect("a vector takes all");
    assert!(body.len() < 16 * 1024, "{}", body.len());
    transport(move || {
        http::Response::builder()
            .header("content-type", "application/proto")
            .header("content-encoding", "gzip")
            .body(Body::from(body.clone()))
            .expect("a response")
    })
}

#[tokio::test]
async fn a_compressed_response_counts_by_its_decompressed_length() {
    let budget = Budget::new();
    let message = text(8 * MIB).encode_to_vec();
    let client = Client::new(gzip(&message));
    let request = Request::new(Text::default()).memory(budget.clone());
    let response = client.unary::<_, Text>(&ECHO, request).await;
    let response = response.expect("it is within the limit");
    assert_eq!(budget.reserved(), message.len() as u64);
    drop(response);
}

/// A budget that has no memory.
struct Refusal;

impl ReserveMemory for Refusal {
    async fn reserve(&self, bytes: u64) -> Result<(), Error> {
        Err(Error::resource_exhausted(format!("{bytes} bytes")))
    }

    fn release(&self, bytes: u64) {
        assert_eq!(bytes, 0, "nothing was reserved");
    }
}

#[tokio::test]
async fn the_error_of_a_budget_is_that_of_the_call() {
    let message = text(8 * MIB).encode_to_vec();
    let as_is = message.clone();
    let identity = transport(move || {
        http::Response::builder()
            .header("content-type", "application/proto")
            .body(Body::from(as_is.clone()))
            .expect("a response")
    });
    let request = || Request::new(Text::default()).memory(Refusal);
    let refused = Client::new(identity).unary::<_, Text>(&ECHO, request());
    let refused = refused.await.expect_err("there is no memory");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.message(), format!("{} bytes", message.len()));
    let refused = Client::new(gzip(&message)).unary::<_, Text>(&ECHO, request());
    let refused = refused.await.expect_err("there is no memory");
    assert_eq!(refused.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn an_error_that_is_too_long_is_that_of_its_status() {
    let failed = |len: usize| {
        let body = format!(
            r#"{{"code":"not_found","message":"{}"}}"#,
            "x".repeat(len - 33)
        );
        let transport = transport(move || {
            http::Response::builder()
                .status(429)
                .header("content-type", "application/json")
                .body(Body::from(body.clone()))
                .expect("a response")
        });
        let client = Client::new(transport);
        async move {
            let called = client.unary::<_, Text>(&ECHO, Text::default().into()).await;
            called.expect_err("failed").code()
        }
    };
    let limit = 256 * 1024;
    assert_eq!(failed(limit).await, Code::NotFound);
    assert_eq!(failed(limit + 1).await, Code::Unavailable);
    assert_eq!(failed(16 << 20).await, Code::Unavailable);
}

#[tokio::test]
async fn a_failed_response_keeps_nothing_reserved() {
    let budget = Budget::new();
    let message = text(8 * MIB).encode_to_vec();
    let config = Config::default().max_message_size(4 * MIB as usize);
    let client = Client::with_config(gzip(&message), config);
    let request = Request::new(Text::default()).memory(budget.clone());
    let error = client.unary::<_, Text>(&ECHO, request).await;
    let error = error.expect_err("it is too large");
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert_eq!(budget.reserved(), 0);
}

#[tokio::test]
async fn a_response_of_one_chunk_without_a_length_is_counted() {
    let budget = Budget::new();
    let message = bytes::Bytes::from(text(3 * MIB).encode_to_vec());
    let length = message.len() as u64;
    let client = Client::new(transport(move || {
        http::Response::builder()
            .header("content-type", "application/proto")
            .body(Body::new(Chunks::new([message.clone()])))
            .expect("a response")
    }));
    let request = Request::new(Text::default()).memory(budget.clone());
    client
        .unary::<_, Text>(&ECHO, request)
        .await
        .expect("a message");
    assert_eq!(budget.reserved(), length);
}

/// A method whose response holds a guard in its extensions.
fn guarded(guard: &Arc<()>, bytes: u64) -> Router {
    static GUARDED: MethodSpec = MethodSpec::unary("/demo.v1.Guarded/Get");
    let guard = Arc::clone(guard);
    Router::new().add_route(Route::unary(&GUARDED, move |_: Request<Text>| {
        let guard = Arc::clone(&guard);
        async move {
            let mut response = Response::new(text(bytes));
            response.extensions_mut().insert(guard);
            Ok::<_, Error>(response)
        }
    }))
}

async fn http_response(router: &mut Router) -> http::Response<Body> {
    let request = http::Request::post("/demo.v1.Guarded/Get")
        .header("content-type", "application/proto")
        .body(Body::empty())
        .expect("a request");
    router.call(request).await.expect("infallible")
}

#[tokio::test]
async fn extensions_live_as_long_as_the_body_and_its_bytes() {
    let guard = Arc::new(());
    let mut router = guarded(&guard, MIB);
    let idle = Arc::strong_count(&guard);
    let is_kept = || Arc::strong_count(&guard) > idle;
    let response = http_response(&mut router).await;
    assert!(response.extensions().get::<Arc<()>>().is_some());
    let body = response.into_body();
    assert!(is_kept());
    let message = body.collect().await.expect("a body").to_bytes();
    let rest = message.slice(1000..);
    drop(message);
    assert!(is_kept());
    drop(rest);
    assert!(!is_kept());
}

#[tokio::test]
async fn extensions_live_as_long_as_a_body_without_bytes() {
    let guard = Arc::new(());
    let mut router = guarded(&guard, 0);
    let idle = Arc::strong_count(&guard);
    let (_, body) = http_response(&mut router).await.into_parts();
    assert!(Arc::strong_count(&guard) > idle);
    drop(body);
    assert_eq!(Arc::strong_count(&guard), idle);
}

#[tokio::test]
async fn a_client_receives_the_extensions_of_the_http_response() {
    static GUARDED: MethodSpec = MethodSpec::unary("/demo.v1.Guarded/Get");
    let guard = Arc::new(());
    let client = Client::new(guarded(&guard, 10));
    let idle = Arc::strong_count(&guard);
    let response = client.unary::<_, Text>(&GUARDED, Text::default().into());
    let response = response.await.expect("a response");
    let seen: Option<&Arc<()>> = response.extensions().get();
    assert!(seen.is_some_and(|seen| Arc::ptr_eq(seen, &guard)));
    drop(response);
    assert_eq!(Arc::strong_count(&guard), idle);
}
