//! `Stream::closed`: a task is notified of the end of a stream without reading or writing.

mod support;

use std::time::Duration;

use keyway_mux::{Config, Stream, StreamError};
use support::{Flags, Frame, Peer, bounded, stream, wired_pair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};

async fn accepted() -> (Peer, support::End, Stream) {
    let (mut peer, server) = Peer::new(Config::new().keep_alive(None));
    peer.send(Frame::data(1, Flags::SYN, b"request")).await;
    let accepted = bounded("the accept", server.session.accept()).await;
    (peer, server, accepted.unwrap().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_notified_of_a_reset() {
    let (mut peer, _server, stream) = accepted().await;
    let waiting = tokio::spawn(async move { stream.closed().await });
    sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    // Neither more data nor FIN of one direction is an end.
    peer.send(Frame::data(1, Flags::NONE, b"more")).await;
    peer.send(Frame::window_update(1, Flags::FIN, 0)).await;
    sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    peer.send(Frame::window_update(1, Flags::RST, 0)).await;
    let closed = bounded("the end", waiting).await.unwrap();
    assert!(matches!(closed, Err(StreamError::Reset)), "{closed:?}");
}

#[tokio::test(start_paused = true)]
async fn all_waiting_tasks_are_notified() {
    let (mut peer, _server, stream) = accepted().await;
    let (reader, writer) = stream.into_split();
    let waiting = async {
        tokio::join!(reader.closed(), writer.closed(), reader.closed(), async {
            peer.send(Frame::window_update(1, Flags::RST, 0)).await
        })
    };
    let (first, second, third, ()) = bounded("the end", waiting).await;
    for closed in [first, second, third, reader.closed().await] {
        assert!(matches!(closed, Err(StreamError::Reset)), "{closed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_both_ends_have_finished_is_closed_without_an_error() {
    let (client, server) = wired_pair(1 << 16, 1 << 16);
    let (mut near, mut far) = stream(&client.session, &server.session).await;
    near.shutdown().await.unwrap();
    assert_eq!(bounded("the end", far.read(&mut [0])).await.unwrap(), 0);
    let early = tokio::time::timeout(Duration::from_secs(1), near.closed()).await;
    assert!(early.is_err(), "one direction is open");
    far.shutdown().await.unwrap();
    bounded("the end", far.closed()).await.unwrap();
    bounded("the end", near.closed()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_session_is_the_end_of_its_streams() {
    let (client, server) = wired_pair(1 << 16, 1 << 16);
    let (near, _far) = stream(&client.session, &server.session).await;
    let waiting = tokio::spawn(async move { near.closed().await });
    tokio::task::yield_now().await;
    server.driver.abort();
    let closed = bounded("the end", waiting).await.unwrap();
    assert!(matches!(closed, Err(StreamError::Session(_))), "{closed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_local_reset_is_reported() {
    let (_peer, _server, stream) = accepted().await;
    let (reader, mut writer) = stream.into_split();
    let waiting = tokio::spawn(async move { reader.closed().await });
    tokio::task::yield_now().await;
    writer.reset();
    let closed = bounded("the end", waiting).await.unwrap();
    assert!(matches!(closed, Err(StreamError::LocalReset)), "{closed:?}");
}
