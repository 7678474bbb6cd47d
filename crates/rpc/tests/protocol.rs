//! Responses of the router, header by header, without an HTTP connection.

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use keyway_rpc::{Body, Compression, Router};
use keyway_test_support::echo::{Alive, ECHO, Text, router};
use tower_service::Service;

type Headers = &'static [(&'static str, &'static str)];

/// `"hi"` as a message.
const HI: &[u8] = b"\x0a\x02hi";

struct RawResponse {
    status: StatusCode,
    headers: http::HeaderMap,
    body: bytes::Bytes,
}

async fn send<F>(mut router: Router<F>, request: Request<Body>) -> RawResponse
where
    Router<F>: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let response = router.call(request).await.expect("routers do not fail");
    let (parts, body) = response.into_parts();
    let body = body
        .collect()
        .await
        .expect("the body is complete")
        .to_bytes();
    RawResponse {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

fn post(path: &str, headers: &[(&str, &str)], body: &'static [u8]) -> Request<Body> {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::full(body)).expect("a valid request")
}

fn get(query: &str) -> Request<Body> {
    Request::get(format!("/test.Echo/Read?{query}"))
        .body(Body::empty())
        .expect("a valid request")
}

fn test_router() -> Router {
    router(&Alive::default())
}

const PROTO: (&str, &str) = ("content-type", "application/proto");

#[tokio::test]
async fn the_response_has_the_codec_of_the_request() {
    let response = send(test_router(), post("/test.Echo/Echo", &[PROTO], HI)).await;
    assert_eq!(response.status, StatusCode::OK);
    assert_eq!(response.headers["content-type"], "application/proto");
    assert_eq!(response.body, HI);
    assert!(!response.headers.contains_key("content-encoding"));
}

#[tokio::test]
async fn paths_are_matched_exactly() {
    for path in [
        "/",
        "/test.Echo",
        "/test.Echo/",
        "/test.Echo/echo",
        "/test.Echo/Echo/",
        "//test.Echo/Echo",
        "*",
    ] {
        let response = send(test_router(), post(path, &[PROTO], HI)).await;
        assert_eq!(response.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(response.body, "");
    }
}

#[tokio::test]
async fn other_verbs_are_refused_with_those_allowed() {
    for verb in ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW"] {
        let paths = [
            ("/test.Echo/Echo", "POST"),
            ("/test.Echo/Read", "GET, POST"),
        ];
        for (path, allowed) in paths
            .into_iter()
            .filter(|(_, allowed)| !allowed.contains(verb))
        {
            let request = Request::builder()
                .method(verb)
                .uri(path)
                .body(Body::empty());
            let response = send(test_router(), request.expect("a valid request")).await;
            assert_eq!(
                response.status,
                StatusCode::METHOD_NOT_ALLOWED,
                "{verb} {path}"
            );
            assert_eq!(response.headers["allow"], allowed);
            assert_eq!(response.body, "");
        }
    }
}

#[tokio::test]
async fn other_content_types_are_refused_with_those_understood() {
    for content_type in [
        "",
        "text/plain",
        "application/protobuf",
        "application/json",
        "application/grpc+proto",
    ] {
        let request = post("/test.Echo/Echo", &[("content-type", content_type)], HI);
        let response = send(test_router(), request).await;
        assert_eq!(
            response.status,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "{content_type}"
        );
        assert_eq!(response.headers["accept-post"], "application/proto");
        assert_eq!(response.body, "");
    }
}

#[tokio::test]
async fn invalid_headers_are_reported_in_an_error_object() {
    let cases = [
        (
            "content-encoding",
            "br",
            501,
            "unknown compression \\\"br\\\": supported encodings are gzip",
        ),
        (
            "connect-protocol-version",
            "2",
            400,
            "Connect-Protocol-Version must be \\\"1\\\": got \\\"2\\\"",
        ),
        ("connect-timeout-ms", "soon", 400, "parse timeout"),
        ("connect-timeout-ms", "12345678901", 400, "parse timeout"),
        ("connect-timeout-ms", "-1", 400, "parse timeout"),
    ];
    for (name, value, status, text) in cases {
        let response = send(
            test_router(),
            post("/test.Echo/Echo", &[PROTO, (name, value)], HI),
        )
        .await;
        assert_eq!(response.status.as_u16(), status, "{name}: {value}");
        assert_eq!(response.headers["content-type"], "application/json");
        let body = String::from_utf8_lossy(&response.body);
        assert!(body.contains(text), "{body}");
    }
}

#[tokio::test]
async fn a_message_that_does_not_decode_is_an_invalid_argument() {
    let response = send(test_router(), post("/test.Echo/Echo", &[PROTO], b"\xff")).await;
    assert_eq!(response.status, StatusCode::BAD_REQUEST);
    assert!(
        response.body.starts_with(br#"{"code":"invalid_argument""#),
        "{:?}",
        response.body
    );
}

#[tokio::test]
async fn a_router_may_require_the_protocol_version() {
    let router = test_router().require_protocol_version(true);
    let response = send(router.clone(), post("/test.Echo/Echo", &[PROTO], HI)).await;
    assert_eq!(response.status, StatusCode::BAD_REQUEST);
    let version = ("connect-protocol-version", "1");
    let response = send(router, post("/test.Echo/Echo", &[PROTO, version], HI)).await;
    assert_eq!(response.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_zero_expires_before_the_handler_runs() {
    let hanging = Alive::default();
    let request = post("/test.Echo/Hang", &[PROTO, ("connect-timeout-ms", "0")], HI);
    let response = send(router(&hanging), request).await;
    assert_eq!(response.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(hanging.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_earlier_of_both_deadlines_ends_the_handler() {
    for (requested, most, expected) in [("2000", 5, 2), ("9999999999", 5, 5)] {
        let hanging = Alive::default();
        let router = router(&hanging).max_timeout(Duration::from_secs(most));
        let started = tokio::time::Instant::now();
        let request = post(
            "/test.Echo/Hang",
            &[PROTO, ("connect-timeout-ms", requested)],
            HI,
        );
        let response = send(router, request).await;
        assert_eq!(response.status, StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(started.elapsed().as_secs(), expected);
        assert_eq!(hanging.count(), 0);
    }
}

#[tokio::test]
async fn get_is_understood_in_every_form() {
    let forms = [
        "connect=v1&base64=1&encoding=proto&message=CgJoaQ",
        "message=CgJoaQ%3D%3D&encoding=proto&base64=1&connect=v1&unknown=x",
        "encoding=proto&base64=1&message=CgJoaQ==",
        "encoding=proto&message=%0A%02hi",
    ];
    for form in forms {
        let response = send(test_router(), get(form)).await;
        assert_eq!(
            response.status,
            StatusCode::OK,
            "{form}: {:?}",
            response.body
        );
        assert_eq!(response.headers["vary"], "Accept-Encoding");
        assert_eq!(response.body, HI);
    }
}

#[tokio::test]
async fn an_incomplete_get_is_refused() {
    let cases = [
        ("message=", 400),
        ("encoding=proto", 400),
        ("encoding=json&message=", 415),
        ("encoding=proto&message=!&base64=1", 400),
        ("encoding=proto&message=&compression=br", 501),
        ("encoding=proto&message=&connect=v2", 400),
    ];
    for (query, status) in cases {
        assert_eq!(
            send(test_router(), get(query)).await.status.as_u16(),
            status,
            "{query}"
        );
    }
    let mut with_body = get("encoding=proto&message=");
    *with_body.body_mut() = Body::full(HI);
    assert_eq!(send(test_router(), with_body).await.status.as_u16(), 415);
}

#[tokio::test]
async fn responses_are_compressed_for_clients_that_accept_gzip() {
    let router = test_router().compression(Compression::Gzip { min_size: 4 });
    let cases: [(Headers, &'static [u8], bool); 6] = [
        (&[PROTO], HI, false),
        (&[PROTO, ("accept-encoding", "br, gzip")], HI, true),
        (
            &[
                PROTO,
                ("accept-encoding", "br"),
                ("accept-encoding", "gzip"),
            ],
            HI,
            true,
        ),
        (&[PROTO, ("accept-encoding", "gzip;q=1")], HI, false),
        (&[PROTO, ("accept-encoding", "gzip")], b"\x0a\x01h", false),
        (&[PROTO, ("accept-encoding", "identity")], HI, false),
    ];
    for (headers, message, compressed) in cases {
        let response = send(router.clone(), post("/test.Echo/Echo", headers, message)).await;
        assert_eq!(
            response.headers.contains_key("content-encoding"),
            compressed,
            "{headers:?}"
        );
        assert_eq!(response.body == message, !compressed, "{headers:?}");
    }
}

#[tokio::test]
async fn names_of_codings_have_no_case() {
    let router = test_router().compression(Compression::Gzip { min_size: 0 });
    let headers = [
        PROTO,
        ("content-encoding", "Identity"),
        ("accept-encoding", "GZip"),
    ];
    let response = send(router.clone(), post("/test.Echo/Echo", &headers, HI)).await;
    assert_eq!(response.status, StatusCode::OK);
    assert_eq!(response.headers["content-encoding"], "gzip");
    let packed: &'static [u8] = response.body.to_vec().leak();
    let headers = [PROTO, ("content-encoding", "GZIP"), ("accept-encoding", "")];
    let response = send(router, post("/test.Echo/Echo", &headers, packed)).await;
    assert_eq!(response.body, HI);
}

/// The response of a method that adds these fields, to its error or to its success.
async fn with_fields(fields: usize, length: usize, fails: bool) -> RawResponse {
    use keyway_rpc::{Error, MethodSpec, Route};
    static WORDY: MethodSpec = MethodSpec::unary("/test.Echo/Wordy");
    let wordy = move |_: keyway_rpc::Request<Text>| async move {
        let mut error = Error::not_found("nothing here");
        let mut response = keyway_rpc::Response::new(Text::from("hi"));
        let headers = match fails {
            true => error.own_metadata_mut(),
            false => response.headers_mut(),
        };
        for index in 0..fields {
            let name = http::HeaderName::try_from(format!("x-{index:03}")).expect("a name");
            let value = http::HeaderValue::try_from("v".repeat(length)).expect("a value");
            headers.append(name, value);
        }
        if fails { Err(error) } else { Ok(response) }
    };
    let router = Router::new().add_route(Route::unary(&WORDY, wordy));
    send(router, post("/test.Echo/Wordy", &[PROTO], HI)).await
}

fn head_len(headers: &http::HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum()
}

#[tokio::test]
async fn metadata_of_an_error_that_exceeds_its_bounds_is_left_out() {
    for (fields, length, kept) in [(50, 10, 50), (200, 10, 60), (10, 10_000, 0), (9, 1000, 8)] {
        let response = with_fields(fields, length, true).await;
        assert_eq!(response.status, StatusCode::NOT_FOUND);
        let body = String::from_utf8_lossy(&response.body);
        assert!(body.contains("nothing here"), "{body}");
        let names = response.headers.keys().map(http::HeaderName::as_str);
        let found = names.filter(|name| name.starts_with("x-")).count();
        assert_eq!(found, kept, "{fields} fields of {length} bytes");
        assert!(response.headers.len() <= 64 && head_len(&response.headers) <= 9 * 1024);
    }
}

/// The response of a method that fails with a message of so many bytes and details of these lengths, and the parts of it that a
/// client reads.
async fn failing(
    message_len: usize,
    details: &[usize],
    metadata_len: usize,
) -> (RawResponse, keyway_rpc::Error) {
    use keyway_rpc::client::Client;
    use keyway_rpc::{Error, ErrorDetail, MethodSpec, Request, Route};
    static FAIL: MethodSpec = MethodSpec::unary("/test.Echo/Fail");
    let details: Vec<_> = details
        .iter()
        .map(|len| vec![0; len - "a.B".len()])
        .collect();
    let fail = move |_: Request<Text>| {
        // Control characters take most as JSON, and characters of two bytes are not cut in their middle.
        let text = format!(
            "{}{}",
            "\u{1}".repeat(1000),
            "ä".repeat((message_len - 1000) / 2)
        );
        let mut error = Error::unavailable(text);
        for value in details.clone() {
            error = error.with_detail(ErrorDetail::from_parts("a.B", value));
        }
        let value = "v".repeat(metadata_len - "x-m".len() - 4);
        let value = value.parse().expect("a value");
        error.own_metadata_mut().insert("x-m", value);
        async { Err::<keyway_rpc::Response<Text>, _>(error) }
    };
    let router = Router::new().add_route(Route::unary(&FAIL, fail));
    let response = send(router.clone(), post("/test.Echo/Fail", &[PROTO], HI)).await;
    let request = Request::new(Text::from("hi"));
    let read = Client::new(router)
        .unary::<Text, Text>(&FAIL, request)
        .await;
    (response, read.expect_err("it fails"))
}

#[tokio::test]
async fn details_and_message_of_an_error_are_cut_to_their_limits() {
    use keyway_rpc::{Code, MAX_ERROR_MESSAGE_LEN, MAX_ERROR_METADATA_LEN};
    const LIMIT: usize = MAX_ERROR_METADATA_LEN;
    for (details, metadata_len, kept, keeps_metadata) in [
        (&[LIMIT - 100][..], 100, 1, true),
        // The details come first, and each one that does not fit is left out.
        (&[LIMIT - 100], 101, 1, false),
        (&[LIMIT], 10, 1, false),
        (&[LIMIT + 1], 10, 0, true),
        (&[5000, LIMIT, 3000, 192], 10, 3, false),
        (&[4 << 20; 4], 10, 0, true),
    ] {
        let (response, error) = failing(2000, details, metadata_len).await;
        assert_eq!(error.code(), Code::Unavailable);
        assert_eq!(error.details().len(), kept, "{details:?}");
        assert_eq!(
            response.headers.contains_key("x-m"),
            keeps_metadata,
            "{details:?}"
        );
    }
    for (len, kept) in [
        (MAX_ERROR_MESSAGE_LEN, MAX_ERROR_MESSAGE_LEN),
        (MAX_ERROR_MESSAGE_LEN + 2, MAX_ERROR_MESSAGE_LEN),
        (4 << 20, MAX_ERROR_MESSAGE_LEN),
    ] {
        let (response, error) = failing(len, &[100], 10).await;
        assert_eq!(
            (error.code(), error.message().len()),
            (Code::Unavailable, kept)
        );
        assert_eq!(error.details().len(), 1, "a reader takes the whole error");
        assert!(response.body.len() < 256 * 1024);
    }
}

#[tokio::test]
async fn a_success_whose_headers_exceed_their_bounds_is_an_internal_error() {
    for (fields, length, status) in [
        (60, 10, 200),
        (200, 10, 500),
        (1, 15_000, 200),
        (2, 9_000, 500),
    ] {
        let response = with_fields(fields, length, false).await;
        assert_eq!(
            response.status.as_u16(),
            status,
            "{fields} fields of {length} bytes"
        );
        assert!(response.headers.len() <= 64 && head_len(&response.headers) <= 16 * 1024);
        if status == 500 {
            assert!(response.body.starts_with(br#"{"code":"internal""#));
        }
    }
}

#[tokio::test]
async fn failures_of_a_get_vary_as_its_successes_do() {
    let failed = send(test_router(), get("encoding=proto&message=%FF")).await;
    assert_eq!(failed.status, StatusCode::BAD_REQUEST);
    assert_eq!(failed.headers["vary"], "Accept-Encoding");
}

#[tokio::test]
async fn extensions_of_the_request_reach_the_handler() {
    use keyway_rpc::{Error, MethodSpec, Route};
    static CALLER: MethodSpec = MethodSpec::unary("/test.Echo/Caller");
    let caller = |request: keyway_rpc::Request<Text>| async move {
        let name: Option<&&str> = request.extensions().get();
        Ok::<_, Error>(Text::from(*name.ok_or_else(|| Error::internal("no extension"))?).into())
    };
    let mut request = post("/test.Echo/Caller", &[PROTO], HI);
    request.extensions_mut().insert("uid 1000");
    let response = send(
        Router::new().add_route(Route::unary(&CALLER, caller)),
        request,
    )
    .await;
    assert_eq!(response.body, b"\x0a\x08uid 1000".as_slice());
}

/// A plain HTTP route.
#[derive(Clone)]
struct Health;

impl Service<Request<Body>> for Health {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        std::future::ready(Ok(Response::new(Body::full("ok"))))
    }
}

#[tokio::test]
async fn other_paths_go_to_the_fallback() {
    let router = test_router().with_fallback(Health);
    let health = Request::get("/health")
        .body(Body::empty())
        .expect("a valid request");
    assert_eq!(send(router.clone(), health).await.body, "ok");
    let response = send(router, post("/test.Echo/Echo", &[PROTO], HI)).await;
    assert_eq!(response.body, HI);
}

#[test]
fn a_path_that_is_added_twice_panics() {
    let twice = std::panic::catch_unwind(|| {
        use keyway_rpc::{Error, Route};
        let echo = |request: keyway_rpc::Request<Text>| async move {
            Ok::<_, Error>(request.into_message().into())
        };
        let _ = test_router().add_route(Route::unary(&ECHO, echo));
    });
    assert!(twice.is_err());
}
