//! The limit of a request's size: that of the router, and that of one method.

use std::io::Write;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use keyway_rpc::json::Descriptors;
use keyway_rpc::{Error, Idempotency, MethodSpec, Request, ReserveMemory, Response, Route, Router};
use keyway_test_support::body::Chunks;
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};
use tower::ServiceExt;

const KIB: usize = 1024;

/// The limit of a router that sets none.
const DEFAULT: usize = 64 * KIB;
/// The limit of [`WRITE`].
const WRITE_LIMIT: usize = KIB * KIB;

#[derive(Clone, PartialEq, Message)]
struct Text {
    #[prost(string, tag = "1")]
    text: String,
}

impl prost::Name for Text {
    const NAME: &'static str = "Text";
    const PACKAGE: &'static str = "test";
}

static DESCRIPTORS: LazyLock<Descriptors> = LazyLock::new(|| {
    let text = FieldDescriptorProto {
        name: Some("text".to_owned()),
        number: Some(1),
        r#type: Some(Type::String.into()),
        label: Some(Label::Optional.into()),
        ..FieldDescriptorProto::default()
    };
    let message = DescriptorProto {
        name: Some("Text".to_owned()),
        field: vec![text],
        ..DescriptorProto::default()
    };
    let file = FileDescriptorProto {
        name: Some("text.proto".to_owned()),
        package: Some("test".to_owned()),
        syntax: Some("proto3".to_owned()),
        message_type: vec![message],
        ..FileDescriptorProto::default()
    };
    let set = FileDescriptorSet { file: vec![file] };
    Descriptors::new(set.encode_to_vec().leak())
});

static READ: LazyLock<MethodSpec> = LazyLock::new(|| {
    MethodSpec::unary("/test.Store/Read")
        .with_idempotency(Idempotency::NoSideEffects)
        .with_descriptors(&DESCRIPTORS)
});
static WRITE: LazyLock<MethodSpec> = LazyLock::new(|| {
    MethodSpec::unary("/test.Store/Write")
        .with_max_request_size(WRITE_LIMIT)
        .with_descriptors(&DESCRIPTORS)
});

async fn length(request: Request<Text>) -> Result<Response<Text>, Error> {
    let text = request.message().text.len().to_string();
    Ok(Response::new(Text { text }))
}

fn router() -> Router {
    Router::new()
        .add_route(Route::unary(&READ, length))
        .add_route(Route::unary(&WRITE, length))
}

/// The status and the body of a response, and how many bytes of the request were read.
struct Outcome {
    status: u16,
    text: String,
    read: usize,
}

impl Outcome {
    fn is_exhausted(&self, limit: usize) -> bool {
        let limit = format!("larger than configured max {limit}");
        self.status == 429 && self.text.contains("resource_exhausted") && self.text.contains(&limit)
    }
}

async fn call(router: Router, request: http::Request<Chunks>) -> Outcome {
    let read = request.body().n_read();
    let Ok(response) = router.oneshot(request).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a whole body");
    Outcome {
        status,
        text: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        read: read.load(Ordering::SeqCst),
    }
}

fn request(method: Method, uri: &str, body: Vec<u8>, is_announced: bool) -> http::Request<Chunks> {
    let len = body.len() as u64;
    let chunks = Chunks::new(body.chunks(8 * KIB).map(Bytes::copy_from_slice));
    let body = if is_announced {
        chunks.declaring(len)
    } else {
        chunks
    };
    let request = http::Request::builder().method(method).uri(uri);
    request.body(body).expect("a valid request")
}

/// Calls a method with POST, a body of this codec and content coding.
async fn post(path: &str, codec: &str, coding: &str, body: Vec<u8>, announced: bool) -> Outcome {
    let mut request = request(Method::POST, path, body, announced);
    let headers = request.headers_mut();
    let content_type = format!("application/{codec}");
    headers.insert("content-type", content_type.parse().expect("a value"));
    headers.insert("content-encoding", coding.parse().expect("a value"));
    call(router(), request).await
}

/// A message of exactly this many bytes.
fn proto(size: usize) -> Vec<u8> {
    let mut text = "a".repeat(size);
    while (Text { text: text.clone() }).encoded_len() > size {
        text.pop();
    }
    let message = Text { text }.encode_to_vec();
    assert_eq!(message.len(), size);
    message
}

fn json(size: usize) -> Vec<u8> {
    let frame = r#"{"text":""}"#.len();
    format!(r#"{{"text":"{}"}}"#, "a".repeat(size - frame)).into_bytes()
}

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(message).expect("vectors take all");
    encoder.finish().expect("vectors take all")
}

type Encode = fn(usize) -> Vec<u8>;

const CODECS: [(&str, Encode); 2] = [("proto", proto), ("json", json)];

#[tokio::test]
async fn a_request_of_the_limit_is_served_however_it_comes() {
    for (path, limit) in [(READ.path(), DEFAULT), (WRITE.path(), WRITE_LIMIT)] {
        for (codec, encode) in CODECS {
            for announced in [true, false] {
                let served = post(path, codec, "identity", encode(limit), announced).await;
                assert_eq!(served.status, 200, "{path} {codec}: {}", served.text);
                let packed = gzip(&encode(limit));
                let served = post(path, codec, "gzip", packed, announced).await;
                assert_eq!(served.status, 200, "{path} {codec}: {}", served.text);
            }
        }
    }
}

#[tokio::test]
async fn an_announced_request_above_the_limit_is_refused_unread() {
    for (path, limit) in [(READ.path(), DEFAULT), (WRITE.path(), WRITE_LIMIT)] {
        for (codec, encode) in CODECS {
            for size in [limit + 1, 5 * limit] {
                let refused = post(path, codec, "identity", encode(size), true).await;
                assert!(refused.is_exhausted(limit), "{path}: {}", refused.text);
                assert!(refused.text.contains(&size.to_string()), "{}", refused.text);
                assert_eq!(refused.read, 0, "{path} {codec} of {size} bytes");
            }
        }
    }
}

#[tokio::test]
async fn a_request_of_unknown_length_is_refused_at_the_byte_above_the_limit() {
    for (codec, encode) in CODECS {
        for size in [DEFAULT + 1, 10 * DEFAULT] {
            let refused = post(READ.path(), codec, "identity", encode(size), false).await;
            assert!(refused.is_exhausted(DEFAULT), "{}", refused.text);
        }
    }
}

#[tokio::test]
async fn a_compressed_request_is_limited_by_its_decompressed_size() {
    for (codec, encode) in CODECS {
        for size in [DEFAULT + 1, 4 * KIB * KIB] {
            for announced in [true, false] {
                let packed = gzip(&encode(size));
                let refused = post(READ.path(), codec, "gzip", packed, announced).await;
                assert!(refused.is_exhausted(DEFAULT), "{}", refused.text);
            }
        }
    }
}

#[tokio::test]
async fn the_message_of_a_get_has_the_same_limit() {
    // An URI holds less than 64 KiB, so that only a compressed message can exceed the default.
    let cases = [
        ("&compression=gzip", gzip(&proto(DEFAULT)), 200),
        ("&compression=gzip", gzip(&proto(DEFAULT + 1)), 429),
        ("&compression=gzip", gzip(&proto(4 * KIB * KIB)), 429),
    ];
    for (compression, message, status) in cases {
        let message = URL_SAFE_NO_PAD.encode(message);
        let path = READ.path();
        let uri = format!("{path}?encoding=proto&base64=1{compression}&message={message}");
        let outcome = call(router(), request(Method::GET, &uri, Vec::new(), true)).await;
        assert_eq!(outcome.status, status, "{compression}: {}", outcome.text);
        assert_eq!(outcome.is_exhausted(DEFAULT), status == 429);
    }
}

#[tokio::test]
async fn the_limit_of_a_method_precedes_that_of_its_router() {
    let router = router().max_message_size(10);
    for (spec, size, status) in [(&READ, 10, 200), (&READ, 11, 429), (&WRITE, 11, 200)] {
        let mut request = request(Method::POST, spec.path(), proto(size), true);
        let content_type = http::HeaderValue::from_static("application/proto");
        request.headers_mut().insert("content-type", content_type);
        let outcome = call(router.clone(), request).await;
        assert_eq!(outcome.status, status, "{spec:?}, {size} bytes");
    }
}

/// A budget that counts reservations, and never refuses.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicUsize>);

impl ReserveMemory for Counter {
    async fn reserve(&self, bytes: u64) -> Result<(), Error> {
        self.0.fetch_add(bytes as usize, Ordering::SeqCst);
        Ok(())
    }

    fn release(&self, bytes: u64) {
        self.0.fetch_sub(bytes as usize, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_request_is_counted_before_it_arrives_and_until_its_handler_ends() {
    let budget = Counter::default();
    let counted = budget.clone();
    let reserved = move || counted.0.load(Ordering::SeqCst);
    let seen = reserved.clone();
    let handler = move |_: Request<Text>| {
        let text = seen().to_string();
        async { Ok::<_, Error>(Response::new(Text { text })) }
    };
    let router = Router::new()
        .add_route(Route::unary(&WRITE, handler))
        .request_memory(budget);
    for (size, counted) in [(DEFAULT, 0), (DEFAULT + 1, DEFAULT + 1)] {
        let mut request = request(Method::POST, WRITE.path(), proto(size), true);
        let content_type = http::HeaderValue::from_static("application/proto");
        request.headers_mut().insert("content-type", content_type);
        let outcome = call(router.clone(), request).await;
        assert!(
            outcome.text.ends_with(&counted.to_string()),
            "{}",
            outcome.text
        );
        assert_eq!(reserved(), 0);
    }
    // A client that stops sending, and disconnects.
    let request = http::Request::post(WRITE.path())
        .header("content-type", "application/proto")
        .body(
            Chunks::new(std::iter::empty::<Bytes>())
                .declaring(DEFAULT as u64 + 1)
                .stalled(),
        )
        .expect("a valid request");
    let mut call = Box::pin(router.oneshot(request));
    let waiting = tokio::time::timeout(std::time::Duration::from_secs(1), &mut call);
    waiting.await.expect_err("the body does not arrive");
    assert_eq!(reserved(), DEFAULT + 1);
    drop(call);
    assert_eq!(reserved(), 0);
}
