//! The ordinary life of a session: open, read, write, finish, close.

mod support;

use std::io::ErrorKind;

use keyway_mux::{Config, OpenError, Role, SessionError};
use support::{bounded, close, eventually, pair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn an_echoed_stream_is_removed_at_both_ends() {
    let (client, server) = pair();
    let echo = tokio::spawn(async move {
        let mut stream = server.session.accept().await.unwrap().unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.unwrap();
        stream.write_all(&text).await.unwrap();
        stream.shutdown().await.unwrap();
        drop(stream);
        server
    });
    let mut stream = client.session.open().await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut text = Vec::new();
    bounded("the echo", stream.read_to_end(&mut text))
        .await
        .unwrap();
    assert_eq!(text, b"hello");
    drop(stream);
    let server = echo.await.unwrap();
    eventually("forgetting the stream", || {
        client.session.stats().open_streams == 0 && server.session.stats().open_streams == 0
    })
    .await;
    bounded("the close", close(&client.session)).await.unwrap();
    bounded("the client", client.driver).await.unwrap().unwrap();
    bounded("the server", server.driver).await.unwrap().unwrap();
}

#[tokio::test]
async fn eight_mebibytes_pass_in_both_directions_at_once() {
    let (client, server) = pair();
    let payload: Vec<u8> = (0..8 * 1024 * 1024u32)
        .map(|index| (index * 7 / 3) as u8)
        .collect();
    let expected = payload.clone();
    let echo = tokio::spawn(async move {
        let stream = server.session.accept().await.unwrap().unwrap();
        let (mut reader, mut writer) = tokio::io::split(stream);
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let stream = client.session.open().await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let writing = tokio::spawn(async move {
        writer.write_all(&payload).await.unwrap();
        writer.shutdown().await.unwrap();
        writer
    });
    let mut back = Vec::new();
    bounded("the echo", reader.read_to_end(&mut back))
        .await
        .unwrap();
    assert!(back == expected, "the echo differs");
    writing.await.unwrap();
    echo.await.unwrap();
}

#[tokio::test]
async fn twenty_thousand_streams_leave_nothing() {
    let (client, server) = pair();
    let accepting = tokio::spawn(async move {
        let mut tasks = tokio::task::JoinSet::new();
        while let Ok(Some(mut stream)) = server.session.accept().await {
            tasks.spawn(async move {
                let mut text = [0; 64];
                stream.read_exact(&mut text).await.unwrap();
                stream.write_all(&text).await.unwrap();
            });
            while tasks.try_join_next().is_some() {}
        }
        tasks.join_all().await;
        server.session.stats()
    });
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..16u8 {
        let session = client.session.clone();
        tasks.spawn(async move {
            for _ in 0..1250 {
                let mut stream = session.open().await.unwrap();
                stream.write_all(&[caller; 64]).await.unwrap();
                let mut text = Vec::new();
                stream.read_to_end(&mut text).await.unwrap();
                assert_eq!(text, [caller; 64]);
            }
        });
    }
    bounded("the callers", tasks.join_all()).await;
    eventually("forgetting the streams", || {
        client.session.stats().open_streams == 0
    })
    .await;
    assert_eq!(client.session.stats().opened, 20_000);
    bounded("the close", close(&client.session)).await.unwrap();
    let stats = bounded("the server", accepting).await.unwrap();
    assert_eq!(
        (stats.accepted, stats.open_streams, stats.unread_bytes),
        (20_000, 0, 0)
    );
}

#[tokio::test]
async fn the_server_can_write_first() {
    let (client, server) = pair();
    let mut stream = client.session.open().await.unwrap();
    let reading = tokio::spawn(async move {
        let mut stream = server.session.accept().await.unwrap().unwrap();
        stream.write_all(b"welcome").await.unwrap();
        server
    });
    let mut text = String::new();
    bounded("the text", stream.read_to_string(&mut text))
        .await
        .unwrap();
    assert_eq!(text, "welcome");
    reading.await.unwrap();
}

#[tokio::test]
async fn an_unused_stream_sends_no_frame() {
    let (client, server) = pair();
    drop(client.session.open().await.unwrap());
    assert_eq!(client.session.stats().open_streams, 0);
    let mut stream = client.session.open().await.unwrap();
    stream.write_all(b"second").await.unwrap();
    let accepted = bounded("the accept", server.session.accept())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(accepted.id().get(), 3);
}

#[tokio::test]
async fn reset_fails_both_ends() {
    let (client, server) = pair();
    let near = client.session.open().await.unwrap();
    let (mut reader, mut near) = near.into_split();
    near.write_all(b"x").await.unwrap();
    let mut far = server.session.accept().await.unwrap().unwrap();
    assert_eq!(far.read_u8().await.unwrap(), b'x');
    near.reset();
    let error = bounded("the reset", far.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let error = far.write_all(b"y").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let error = reader.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn nothing_opens_after_close_and_accept_ends() {
    let (client, server) = pair();
    let accepting = server.session.accept();
    bounded("the close", close(&client.session)).await.unwrap();
    assert!(matches!(
        client.session.open().await,
        Err(OpenError::Closed)
    ));
    let refused = bounded("the accept", accepting).await;
    assert!(matches!(refused, Ok(None)));
    bounded("the server", server.driver).await.unwrap().unwrap();
    assert!(matches!(
        server.session.open().await,
        Err(OpenError::Closed)
    ));
}

#[tokio::test]
async fn dropping_the_driver_fails_the_streams() {
    let (client, server) = pair();
    let mut stream = client.session.open().await.unwrap();
    stream.write_all(b"x").await.unwrap();
    client.driver.abort();
    assert!(client.driver.await.unwrap_err().is_cancelled());
    assert!(stream.read_u8().await.is_err());
    let closed = bounded("the end", client.session.closed()).await;
    assert!(matches!(closed, Err(SessionError::DriverDropped)));
    // The other end lost its connection.
    bounded("the server", server.driver).await.unwrap().unwrap();
}

#[tokio::test]
async fn dropping_all_handles_ends_the_session_after_its_streams() {
    let (client, server) = pair();
    let mut near = client.session.open().await.unwrap();
    near.write_all(b"x").await.unwrap();
    let mut far = server.session.accept().await.unwrap().unwrap();
    drop(client.session);
    near.write_all(b"y").await.unwrap();
    drop(near);
    let mut text = String::new();
    far.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "xy");
    drop(far);
    bounded("the client", client.driver).await.unwrap().unwrap();
    bounded("the server", server.driver).await.unwrap().unwrap();
}

#[test]
fn handles_and_streams_are_send_and_sync() {
    fn anywhere<T: Send + Sync + Unpin + 'static>() {}
    anywhere::<keyway_mux::Stream>();
    anywhere::<keyway_mux::Session>();
    #[cfg(feature = "connector")]
    anywhere::<keyway_mux::Connector>();
    fn elsewhere<T: Send + Unpin + 'static>() {}
    elsewhere::<keyway_mux::Driver>();
    elsewhere::<keyway_mux::Listener>();
    elsewhere::<keyway_mux::Open>();
}

#[tokio::test]
async fn a_session_runs_on_a_stream_of_another() {
    let (client, server) = pair();
    let (near, far) = support::stream(&client.session, &server.session).await;
    let inner_client = support::end(near, Role::Client, Config::default());
    let inner_server = support::end(far, Role::Server, Config::default());
    let (mut near, mut far) = support::stream(&inner_client.session, &inner_server.session).await;
    let writing = tokio::spawn(async move {
        near.write_all(&vec![3; 1 << 20]).await.unwrap();
        near.shutdown().await.unwrap();
    });
    let mut bytes = Vec::new();
    bounded("the transfer", far.read_to_end(&mut bytes))
        .await
        .unwrap();
    assert!(bytes == vec![3; 1 << 20]);
    writing.await.unwrap();
    drop(far);
    bounded("the inner close", close(&inner_client.session))
        .await
        .unwrap();
    bounded("the inner server", inner_server.driver)
        .await
        .unwrap()
        .unwrap();
    bounded("the close", close(&client.session)).await.unwrap();
    bounded("the server", server.driver).await.unwrap().unwrap();
}
