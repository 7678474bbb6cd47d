//! Tower layers around a router and inside of it, and the responses of `RecoverError` to their failures.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderValue;
use keyway_rpc::client::Client;
use keyway_rpc::{
    Body, Code, Error, Idempotency, MethodSpec, Methods, RecoverErrorLayer, Request, Response,
    Route, Router,
};
use keyway_test_support::body::Chunks;
use keyway_test_support::echo::{Alive, ECHO, HANG, READ, SECRET, Text, echo, router};
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::timeout::TimeoutLayer;
use tower::util::{MapRequest, MapRequestLayer};
use tower::{Layer, Service as _, ServiceBuilder, ServiceExt};

/// The caller that the layer identified.
#[derive(Clone)]
struct Caller(String);

fn authorize(mut request: http::Request<Body>) -> Result<http::Request<Body>, Error> {
    let token = request.headers().get("authorization");
    let caller = match token.and_then(|token| token.to_str().ok()) {
        Some(token) => Caller(token.to_owned()),
        None => return Err(Error::unauthenticated("send a token")),
    };
    request.extensions_mut().insert(caller);
    Ok(request)
}

#[tokio::test(start_paused = true)]
async fn layers_refuse_requests_fail_and_pass_extensions_to_handlers() {
    let caller = |request: Request<Text>| async move {
        let Caller(name) = request.extensions().get().cloned().expect("a layer set it");
        Ok::<_, Error>(Response::new(Text { text: name }))
    };
    let hanging = router(&Alive::default());
    let router = Router::new()
        .add_route(Route::unary(&ECHO, caller))
        .with_fallback(hanging);
    let service = ServiceBuilder::new()
        .layer(RecoverErrorLayer::new())
        .layer(TimeoutLayer::new(Duration::from_secs(5)))
        .filter(authorize)
        .service(router);
    let client = Client::new(service);
    let call = |spec, token: Option<&'static str>| {
        let mut request = Request::new(Text::from("x"));
        if let Some(token) = token {
            let value = HeaderValue::from_static(token);
            request.metadata_mut().insert("authorization", value);
        }
        client.unary::<_, Text>(spec, request)
    };
    let response = call(&ECHO, Some("ada")).await.expect("it is authorized");
    assert_eq!(response.message().text, "ada");
    let error = call(&ECHO, None).await.expect_err("it is not");
    assert_eq!(error.to_string(), "unauthenticated: send a token");
    let error = call(&HANG, Some("ada")).await.expect_err("too slow");
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(
        !error.message().contains("timed out"),
        "its text stays in the process"
    );
}

/// A service that fails once in `poll_ready`, and would be ready then.
#[derive(Clone)]
struct Closed {
    was_polled: bool,
}

impl tower_service::Service<http::Request<Body>> for Closed {
    type Response = http::Response<Body>;
    type Error = Error;
    type Future = std::future::Pending<Result<Self::Response, Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Error>> {
        assert!(!self.was_polled, "a failed service is polled again");
        self.was_polled = true;
        std::task::Poll::Ready(Err(Error::resource_exhausted("closed")))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        unreachable!("a failed service is called")
    }
}

#[tokio::test]
async fn every_request_to_a_service_that_failed_in_poll_ready_returns_its_error() {
    let closed = Closed { was_polled: false };
    let mut service = RecoverErrorLayer.layer(closed);
    for _ in 0..2 {
        let request = http::Request::post(ECHO.path()).body(Body::empty());
        let request = request.expect("a request");
        let service = ServiceExt::<http::Request<Body>>::ready(&mut service);
        let response = service.await.expect("infallible").call(request);
        let response = response.await.expect("infallible");
        assert_eq!(response.status(), Code::ResourceExhausted.http_status());
    }
    let error = Client::new(service).unary::<_, Text>(&ECHO, Text::default().into());
    let error = error.await.expect_err("it failed");
    assert_eq!(error.to_string(), "resource_exhausted: closed");
}

/// Returns the status of the response to an upload of 10,000 bytes, and how many of them the service read.
async fn upload<S>(mut service: S, lines: &[(&'static str, &'static str)]) -> (u16, usize)
where
    S: tower_service::Service<
            http::Request<Chunks>,
            Response = http::Response<Body>,
            Error = std::convert::Infallible,
        >,
{
    let body = Chunks::new(vec![bytes::Bytes::from_static(&[0; 1000]); 10]).declaring(10_000);
    let n_read = body.n_read();
    let mut request = http::Request::post(ECHO.path()).header("content-type", "application/proto");
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    let request = request.body(body).expect("a request");
    let response = service.ready().await.expect("infallible").call(request);
    let response = response.await.expect("infallible");
    (response.status().as_u16(), n_read.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_refused_upload_is_read_first_unless_its_client_waits_for_100() {
    let layered = ServiceBuilder::new()
        .layer(RecoverErrorLayer::new())
        .filter(authorize)
        .service(router(&Alive::default()));
    assert_eq!(upload(layered.clone(), &[]).await, (401, 10_000));
    let expects = ("expect", "100-continue");
    assert_eq!(upload(layered, &[expects]).await, (401, 0));

    let small = router(&Alive::default()).max_message_size(1000);
    // One that announces too much is refused at once.
    assert_eq!(upload(small.clone(), &[]).await, (429, 0));
    assert_eq!(upload(small, &[expects]).await, (429, 0));
    let refused = [
        (("connect-timeout-ms", "0"), 504),
        (("connect-timeout-ms", "soon"), 400),
        (("content-encoding", "br"), 501),
    ];
    for (field, status) in refused {
        let response = upload(router(&Alive::default()), &[field, expects]).await;
        assert_eq!(response, (status, 0), "{field:?}");
    }
}

/// The part of a request that a layer records.
fn note(
    seen: &Arc<Mutex<Vec<(&'static str, Idempotency)>>>,
) -> impl Layer<
    Methods,
    Service = MapRequest<
        Methods,
        impl Fn(http::Request<Body>) -> http::Request<Body> + Clone + use<>,
    >,
> + use<> {
    let seen = Arc::clone(seen);
    MapRequestLayer::new(move |request: http::Request<Body>| {
        let spec: &&MethodSpec = request.extensions().get().expect("it is routed");
        let mut seen = seen.lock().expect("not poisoned");
        seen.push((spec.method(), spec.idempotency()));
        request
    })
}

#[tokio::test]
async fn layers_of_a_router_receive_the_method_and_do_not_apply_to_the_fallback() {
    let seen = Arc::default();
    // A layer applies to settings and routes that are added after it as well.
    let router = Router::new()
        .layer(note(&seen))
        .add_route(Route::unary(&ECHO, echo))
        .add_route(Route::unary(&READ, echo))
        .max_message_size(10);
    let client = Client::new(router);
    for spec in [&ECHO, &READ] {
        let response = client.unary::<_, Text>(spec, Text::from("hi").into()).await;
        assert_eq!(response.expect("it is served").message().text, "hi");
    }
    let long = client.unary::<_, Text>(&ECHO, Text::from("0123456789").into());
    let error = long.await.expect_err("it is too large");
    assert_eq!(error.code(), Code::ResourceExhausted);
    let error = client.unary::<_, Text>(&HANG, Text::default().into()).await;
    assert_eq!(error.expect_err("no route").code(), Code::Unimplemented);
    let expected = [
        ("Echo", Idempotency::Unknown),
        ("Read", Idempotency::NoSideEffects),
        ("Echo", Idempotency::Unknown),
    ];
    assert_eq!(*seen.lock().expect("not poisoned"), expected);
}

#[tokio::test]
async fn the_last_layer_runs_first_and_one_service_counts_all_methods() {
    let refuse = ServiceBuilder::new()
        .layer(RecoverErrorLayer::new())
        .filter(authorize);
    let seen = Arc::default();
    let layered = router(&Alive::default())
        .layer(note(&seen))
        .layer(refuse.into_inner())
        .layer(GlobalConcurrencyLimitLayer::new(1));
    let client = Client::new(layered);
    let error = client.unary::<_, Text>(&ECHO, Text::default().into()).await;
    assert_eq!(error.expect_err("no token").code(), Code::Unauthenticated);
    assert!(seen.lock().expect("not poisoned").is_empty());
    let mut request = Request::new(Text::from("hi"));
    let token = HeaderValue::from_static("ada");
    request.metadata_mut().insert("authorization", token);
    let response = client.unary::<_, Text>(&ECHO, request).await;
    assert_eq!(response.expect("it is authorized").message().text, "hi");
    assert_eq!(seen.lock().expect("not poisoned").len(), 1);
}

#[tokio::test]
async fn a_layer_that_removes_the_extensions_is_an_internal_error() {
    let forgetful = MapRequestLayer::new(|request: http::Request<Body>| {
        let (mut head, body) = request.into_parts();
        head.extensions.clear();
        http::Request::from_parts(head, body)
    });
    let client = Client::new(router(&Alive::default()).layer(forgetful));
    let error = client.unary::<_, Text>(&ECHO, Text::default().into()).await;
    assert_eq!(error.expect_err("no method").code(), Code::Internal);
}

#[tokio::test]
async fn transports_and_handlers_receive_the_method() {
    let specs = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&specs);
    let handler = |request: Request<Text>| async move {
        let spec: Option<&&MethodSpec> = request.extensions().get();
        let spec = spec.ok_or_else(|| Error::internal("no method"))?;
        Ok::<_, Error>(Response::new(Text::from(spec.path())))
    };
    let transport = ServiceBuilder::new()
        .map_request(move |request: http::Request<Body>| {
            let spec: Option<&&'static MethodSpec> = request.extensions().get();
            let path = spec.map(|spec| spec.path());
            seen.lock().expect("not poisoned").push(path);
            request
        })
        .service(Router::new().add_route(Route::unary(&SECRET, handler)));
    let response = Client::new(transport).unary::<_, Text>(&SECRET, Text::default().into());
    let response = response.await.expect("it is served");
    assert_eq!(response.message().text, SECRET.path());
    assert_eq!(*specs.lock().expect("not poisoned"), [Some(SECRET.path())]);
}

/// A transport of one thread, as `tower::util::BoxCloneService` and others are.
#[derive(Clone)]
struct NotSync(Router, std::cell::Cell<u32>);

impl tower_service::Service<http::Request<Body>> for NotSync {
    type Response = http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = <Router as tower_service::Service<http::Request<Body>>>::Future;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        tower_service::Service::<http::Request<Body>>::poll_ready(&mut self.0, cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.1.set(self.1.get() + 1);
        self.0.call(request)
    }
}

#[tokio::test]
async fn a_transport_need_not_be_sync_and_its_calls_are_send() {
    let transport = NotSync(router(&Alive::default()), std::cell::Cell::new(0));
    let call = Client::new(transport).unary::<_, Text>(&ECHO, Text::from("hi").into());
    let response = tokio::spawn(call).await.expect("no panic");
    assert_eq!(response.expect("it is served").message().text, "hi");
}

fn response_to(method: http::Method, error: Error) -> http::Response<Body> {
    let request = http::Request::builder().method(method).body(());
    let (head, ()) = request.expect("a request").into_parts();
    error.into_response(&head)
}

#[test]
fn the_response_of_an_error_depends_on_the_verb() {
    use http_body::Body as _;
    let error = || Error::unauthenticated("send a token");
    let post = response_to(http::Method::POST, error());
    assert_eq!(post.status(), 401);
    assert!(!post.headers().contains_key("vary"));
    let length = post.body().size_hint().exact().expect("a length");
    let get = response_to(http::Method::GET, error());
    assert_eq!(get.headers()["vary"], "Accept-Encoding");
    assert_eq!(get.body().size_hint().exact(), Some(length));
    let head = response_to(http::Method::HEAD, error());
    assert_eq!(head.headers()["vary"], "Accept-Encoding");
    assert_eq!(head.headers()["content-type"], "application/json");
    assert_eq!(head.headers()["content-length"], length.to_string());
    assert!(head.body().is_end_stream());
}

/// A backend fails, and the handler returns the error of its call.
#[tokio::test]
async fn received_metadata_is_forwarded_by_that_call_alone() {
    let behind = Router::new().add_route(Route::unary(&ECHO, |_: Request<Text>| async {
        let mut error = Error::not_found("nothing here");
        let value = HeaderValue::from_static("dummy");
        error.own_metadata_mut().insert("set-cookie", value);
        Err::<Response<Text>, _>(error)
    }));
    let behind = Client::new(behind);
    let seen = behind.unary::<_, Text>(&ECHO, Text::default().into()).await;
    let seen = seen.expect_err("it always fails");
    assert_eq!(seen.received_metadata()["set-cookie"], "dummy");
    assert!(seen.own_metadata().is_empty());
    let pass_on = move |forward: bool| {
        let behind = behind.clone();
        move |request: Request<Text>| {
            let behind = behind.clone();
            async move {
                let response = behind.unary::<_, Text>(&ECHO, request).await;
                response.map_err(|mut error| {
                    let value = HeaderValue::from_static("1");
                    error.own_metadata_mut().insert("x-mine", value);
                    match forward {
                        true => error.forward_metadata(),
                        false => error,
                    }
                })
            }
        }
    };
    for forward in [false, true] {
        let front = Router::new().add_route(Route::unary(&ECHO, pass_on(forward)));
        let front = Client::new(front);
        let error = front.unary::<_, Text>(&ECHO, Text::default().into()).await;
        let error = error.expect_err("it always fails");
        assert_eq!(error.to_string(), "not_found: nothing here");
        let received = error.received_metadata();
        assert_eq!(received.contains_key("set-cookie"), forward);
        assert!(received.contains_key("x-mine"));
    }
}
