//! Tower layers around a router: what they add, and how they answer a call themselves.

mod support;

use std::time::Duration;

use http::HeaderValue;
use keyway_rpc::client::Client;
use keyway_rpc::{AnswerErrors, Body, Code, Error, Request, Response, Route, Router};
use tower::ServiceBuilder;
use tower::timeout::TimeoutLayer;

use support::{Alive, ECHO, HANG, Text, router};

/// Who calls, as the layer found out.
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
async fn layers_may_refuse_fail_and_tell_handlers_who_calls() {
    let greet = |request: Request<Text>| async move {
        let Caller(name) = request.extensions().get().cloned().expect("a layer set it");
        Ok::<_, Error>(Response::new(Text { text: name }))
    };
    let hanging = router(&Alive::default());
    let router = Router::new()
        .add_route(Route::unary(&ECHO, greet))
        .with_fallback(hanging);
    let service = ServiceBuilder::new()
        .layer_fn(AnswerErrors::new)
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
    let answer = call(&ECHO, Some("ada")).await.expect("it is authorized");
    assert_eq!(answer.message().text, "ada");
    let error = call(&ECHO, None).await.expect_err("it is not");
    assert_eq!(error.to_string(), "unauthenticated: send a token");
    let error = call(&HANG, Some("ada")).await.expect_err("too slow");
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(
        !error.message().contains("timed out"),
        "its text stays here"
    );
}

/// A service that is never ready.
#[derive(Clone)]
struct Closed;

impl tower_service::Service<http::Request<Body>> for Closed {
    type Response = http::Response<Body>;
    type Error = Error;
    type Future = std::future::Pending<Result<Self::Response, Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Error>> {
        std::task::Poll::Ready(Err(Error::resource_exhausted("closed")))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        unreachable!("it was never ready")
    }
}

#[tokio::test]
async fn a_service_that_is_never_ready_is_answered_for() {
    let client = Client::new(AnswerErrors::new(Closed));
    let error = client.unary::<_, Text>(&ECHO, Text::default().into()).await;
    let error = error.expect_err("it never answers");
    assert_eq!(error.to_string(), "resource_exhausted: closed");
}

/// The headers of a server behind are not for callers in front.
#[tokio::test]
async fn the_metadata_of_received_errors_stays_here() {
    let behind = Router::new().add_route(Route::unary(&ECHO, |_: Request<Text>| async {
        let mut error = Error::not_found("nothing here");
        let value = HeaderValue::from_static("dummy");
        error.metadata_mut().insert("set-cookie", value);
        Err::<Response<Text>, _>(error)
    }));
    let behind = Client::new(behind);
    let seen = behind.unary::<_, Text>(&ECHO, Text::default().into()).await;
    let seen = seen.expect_err("it always fails");
    assert_eq!(seen.metadata()["set-cookie"], "dummy");
    let pass_on = move |change: bool| {
        let behind = behind.clone();
        move |request: Request<Text>| {
            let behind = behind.clone();
            async move {
                let answer = behind.unary::<_, Text>(&ECHO, request).await;
                answer.map_err(|mut error| {
                    if change {
                        let value = HeaderValue::from_static("1");
                        error.metadata_mut().insert("x-mine", value);
                    }
                    error
                })
            }
        }
    };
    for change in [false, true] {
        let front = Router::new().add_route(Route::unary(&ECHO, pass_on(change)));
        let front = Client::new(front);
        let error = front.unary::<_, Text>(&ECHO, Text::default().into()).await;
        let error = error.expect_err("it always fails");
        assert_eq!(error.to_string(), "not_found: nothing here");
        assert_eq!(error.metadata().contains_key("set-cookie"), change);
        assert_eq!(error.metadata().contains_key("x-mine"), change);
    }
}
