//! A server and its client in one process.

use greeter::greet::{GreetRequest, Language, TranslateRequest, greet_service_methods};
use keyway_rpc::{Code, Request};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

#[tokio::test]
async fn greets_and_stops() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = greeter::client(listener.local_addr()?);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(greeter::run_server(listener, async {
        stopped.await.expect("the test stops the server");
    }));

    let request = GreetRequest {
        name: "Ada".to_owned(),
        diary: None,
    };
    let response = client.greet(request).await?.into_message();
    assert_eq!(response.greeting, "Hello, Ada!");
    assert!(response.at.is_some());

    let error = client
        .greet(GreetRequest::default())
        .await
        .expect_err("`name` is empty");
    assert_eq!(error.code(), Code::InvalidArgument);

    let request = TranslateRequest {
        language: Language::Italian.into(),
    };
    let response = client
        .translate(Request::new(request).get(true))
        .await?;
    assert_eq!(response.message().greeting, "Ciao");

    stop.send(()).expect("the server runs");
    let served = server.await?;
    assert_eq!((served.accepted, served.failed, served.aborted), (3, 0, 0));
    Ok(())
}

#[test]
fn the_diary_is_hidden_and_its_method_sensitive() {
    let request = GreetRequest {
        name: "Ada".to_owned(),
        diary: Some("dear diary".to_owned()),
    };
    let shown = format!("{request:?}");
    assert!(
        shown.contains("Ada") && !shown.contains("dear diary"),
        "{shown}"
    );
    assert!(greet_service_methods::GREET.is_sensitive());
    assert!(!greet_service_methods::TRANSLATE.is_sensitive());
}

#[cfg(feature = "json")]
#[test]
fn messages_have_their_canonical_json() -> Result<(), Box<dyn std::error::Error>> {
    let json = br#"{"name": "Ada", "unknown": 1}"#;
    let request: GreetRequest = greeter::greet::DESCRIPTORS.from_json(json)?;
    assert_eq!(
        greeter::greet::DESCRIPTORS.to_json(&request)?,
        r#"{"name":"Ada"}"#
    );
    Ok(())
}
