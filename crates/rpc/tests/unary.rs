//! Calls from the client to the router, over HTTP/1.1 in memory.

use std::time::Duration;

use keyway_rpc::client::Config;
use keyway_rpc::{BinaryMetadata, Code, Request};
use keyway_test_support::echo::{
    Alive, ECHO, HANG, Memory, PANIC, PANIC_TEXT, READ, SECRET, Text, router,
};

#[tokio::test]
async fn an_echo_returns_the_message() {
    let memory = Memory::new(router(&Alive::default()));
    let client = memory.client(Config::default());
    for spec in [&ECHO, &READ, &SECRET] {
        let result = client
            .unary::<Text, Text>(spec, Text::from("hello").into())
            .await;
        assert_eq!(result.expect("a response").into_message().text, "hello");
    }
    assert_eq!(memory.opened(), 3, "one connection for each call");
}

#[tokio::test]
async fn large_messages_pass_in_pieces() {
    let client = Memory::new(router(&Alive::default())).client(Config::default());
    let text = "x".repeat(3 * 1024 * 1024);
    for spec in [&ECHO, &SECRET] {
        let result = client
            .unary::<Text, Text>(spec, Text::from(text.as_str()).into())
            .await;
        assert_eq!(result.expect("a response").into_message().text, text);
    }
}

#[tokio::test]
async fn metadata_arrives_in_both_directions_in_order() {
    let client = Memory::new(router(&Alive::default())).client(Config::default());
    let mut request = Request::new(Text::default());
    request
        .metadata_mut()
        .append("x-one", "1".parse().expect("a value"));
    request
        .metadata_mut()
        .append("x-one", "2".parse().expect("a value"));
    request
        .metadata_mut()
        .append_binary("x-two-bin", &[0, 255])
        .expect("a binary name");
    let response = client
        .unary::<Text, Text>(&ECHO, request)
        .await
        .expect("a response");
    for map in [response.headers(), response.trailers()] {
        let values: Vec<_> = map.get_all("x-one").iter().collect();
        assert_eq!(values, ["1", "2"]);
        assert_eq!(
            map.get_binary("x-two-bin").expect("base64"),
            [[0, 255].as_slice()]
        );
    }
    assert!(
        response
            .headers()
            .keys()
            .all(|name| !name.as_str().starts_with("trailer-"))
    );
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented() {
    static MISSING: keyway_rpc::MethodSpec = keyway_rpc::MethodSpec::unary("/test.Echo/Missing");
    let client = Memory::new(router(&Alive::default())).client(Config::default());
    let error = client
        .unary::<Text, Text>(&MISSING, Text::default().into())
        .await;
    assert_eq!(
        error.expect_err("no such method").code(),
        Code::Unimplemented
    );
}

#[tokio::test]
async fn a_panic_is_internal_without_its_text_and_later_calls_succeed() {
    let client = Memory::new(router(&Alive::default())).client(Config::default());
    let error = client
        .unary::<Text, Text>(&PANIC, Text::default().into())
        .await;
    let error = error.expect_err("the handler panicked");
    assert_eq!(error.code(), Code::Internal);
    assert!(
        !format!("{error} {error:?}").contains(PANIC_TEXT),
        "{error:?}"
    );
    let result = client
        .unary::<Text, Text>(&ECHO, Text::from("still here").into())
        .await;
    assert_eq!(
        result.expect("a response").into_message().text,
        "still here"
    );
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_the_call_and_the_handler() {
    let hanging = Alive::default();
    let client = Memory::new(router(&hanging)).client(Config::default());
    let request = Request::new(Text::default()).timeout(Duration::from_secs(2));
    let error = client
        .unary::<Text, Text>(&HANG, request)
        .await
        .expect_err("it hangs");
    assert_eq!(error.code(), Code::DeadlineExceeded);
    // The server's own deadline, or the end of the connection, drops the handler.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(hanging.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_drops_the_handler() {
    let hanging = Alive::default();
    let client = Memory::new(router(&hanging)).client(Config::default());
    let call = client.unary::<Text, Text>(&HANG, Text::default().into());
    let cut = tokio::time::timeout(Duration::from_secs(1), call).await;
    assert!(cut.is_err(), "it hangs");
    assert_eq!(hanging.count(), 1, "the handler saw the call");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(hanging.count(), 0);
}
