//! Large messages that share a budget.

mod support;

use std::time::Duration;

use http_body_util::BodyExt as _;
use keyway_rpc::client::{Client, Config};
use keyway_rpc::{Budget, Code, Error, MethodSpec, Request, Response, Route, Router};
use tower_service::Service as _;

use support::{Alive, ECHO, Memory, Text, router};

const MIB: u64 = 1024 * 1024;

fn text(bytes: u64) -> Text {
    Text::from("x".repeat(bytes as usize).as_str())
}

#[tokio::test(start_paused = true)]
async fn a_large_response_is_read_when_there_is_room_for_it() {
    let client = Memory::new(router(&Alive::default())).client(Config::default());
    let budget = Budget::new(4 * MIB);
    let ask = |bytes, claim| {
        let request = Request::new(text(bytes)).with_timeout(Duration::from_secs(5));
        client.unary::<Text, Text>(&ECHO, request.with_claim(claim))
    };
    let (first, second) = (budget.claim(), budget.claim());
    ask(3 * MIB, first.clone()).await.expect("there is room");
    let error = ask(3 * MIB, second.clone()).await.expect_err("it is taken");
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert!(second.is_crowded());
    ask(1000, second.clone()).await.expect("small ones pass");
    let waiting = tokio::spawn(ask(3 * MIB, second));
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(first);
    waiting
        .await
        .expect("no panic")
        .expect("what was taken is free");
}

#[tokio::test]
async fn a_claim_is_kept_until_the_response_is_gone() {
    static LARGE: MethodSpec = MethodSpec::unary("/demo.v1.Large/Get");
    let budget = Budget::new(4 * MIB);
    let claims = budget.clone();
    let large = Route::unary(&LARGE, move |_: Request<Text>| {
        let claim = claims.claim();
        async move {
            claim.take(MIB).await;
            let mut response = Response::new(text(MIB));
            response.keep_until_sent(claim);
            Ok::<_, Error>(response)
        }
    });
    let mut router = Router::new().add_route(large);
    let request = http::Request::post(LARGE.path())
        .header("content-type", "application/proto")
        .body(keyway_rpc::Body::empty())
        .expect("a request");
    let response = router.call(request).await.expect("infallible");
    assert_eq!(budget.available(), 3 * MIB);
    let message = response.into_body().collect().await.expect("a body");
    let message = message.to_bytes();
    let rest = message.slice(1000..);
    drop(message);
    assert_eq!(budget.available(), 3 * MIB);
    drop(rest);
    assert_eq!(budget.available(), 4 * MIB);

    // A client that is in the same process gets the message, not the guard.
    let answer = Client::new(router).unary::<_, Text>(&LARGE, Text::default().into());
    assert_eq!(
        answer.await.expect("an answer").message().text.len(),
        1 << 20
    );
    assert_eq!(budget.available(), 4 * MIB);
}
