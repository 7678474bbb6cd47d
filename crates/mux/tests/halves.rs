//! Streams that are split into halves.

mod support;

use keyway_mux::{Config, ReuniteError};
use support::{End, Flags, Frame, Peer, bounded, stream, wired_pair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn ends() -> (End, End) {
    wired_pair(1 << 20, 1 << 20)
}

#[tokio::test(start_paused = true)]
async fn halves_move_bytes_in_two_tasks() {
    let (client, server) = ends();
    let (near, mut far) = stream(&client.session, &server.session).await;
    let (mut reader, mut writer) = near.into_split();
    let writing = tokio::spawn(async move {
        writer.write_all(&[7; 1 << 20]).await.unwrap();
        writer
    });
    let reading = tokio::spawn(async move {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).await.unwrap();
        bytes
    });
    let mut received = vec![0; 1 << 20];
    bounded("the bytes", far.read_exact(&mut received))
        .await
        .unwrap();
    assert!(received == vec![7; 1 << 20]);
    far.write_all(&received).await.unwrap();
    drop(far);
    assert!(bounded("the echo", reading).await.unwrap() == received);
    drop(bounded("the writer", writing).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_write_half_ends_its_direction_alone() {
    let (client, server) = ends();
    let (near, mut far) = stream(&client.session, &server.session).await;
    let (mut reader, mut writer) = near.into_split();
    writer.write_all(b"request").await.unwrap();
    drop(writer);
    let mut request = String::new();
    let end = bounded("the end", far.read_to_string(&mut request)).await;
    assert_eq!((end.unwrap(), request.as_str()), (7, "request"));
    far.write_all(b"response").await.unwrap();
    drop(far);
    let mut response = String::new();
    let end = bounded("the end", reader.read_to_string(&mut response)).await;
    assert_eq!((end.unwrap(), response.as_str()), (8, "response"));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_read_half_ends_nothing() {
    let (client, server) = ends();
    let (near, mut far) = stream(&client.session, &server.session).await;
    let (reader, mut writer) = near.into_split();
    drop(reader);
    far.write_all(b"unread").await.unwrap();
    writer.write_all(b"!").await.unwrap();
    writer.flush().await.unwrap();
    assert_eq!(bounded("a byte", far.read_u8()).await.unwrap(), b'!');
    assert_eq!(client.session.stats().open_streams, 1);
    drop((writer, far));
}

/// FIN leaves once, whatever is dropped after it.
#[tokio::test(start_paused = true)]
async fn a_write_half_that_was_shut_down_sends_one_fin() {
    let (mut peer, server) = Peer::new(Config::new().keep_alive(None));
    peer.send(Frame::data(1, Flags::SYN, b"hi")).await;
    let accepted = bounded("the accept", server.session.accept()).await;
    let (reader, mut writer) = accepted.unwrap().unwrap().into_split();
    writer.write_all(b"x").await.unwrap();
    bounded("the shutdown", writer.shutdown()).await.unwrap();
    drop(writer);
    drop(reader);
    assert_eq!(peer.receive().await, Frame::data(1, Flags::ACK, b"x"));
    assert_eq!(peer.receive().await, Frame::window_update(1, Flags::FIN, 0));
    peer.send(Frame::window_update(1, Flags::FIN, 0)).await;
    server.session.close();
    assert_eq!(peer.receive().await, Frame::go_away(0));
    assert_eq!(peer.rest().await, []);
    drop(peer);
    bounded("the end", server.session.closed()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn reunited_halves_are_the_stream_again() {
    let (client, server) = ends();
    let (near, mut far) = stream(&client.session, &server.session).await;
    let id = near.id();
    let (reader, writer) = near.into_split();
    let mut near = reader.reunite(writer).unwrap();
    assert_eq!(near.id(), id);
    near.write_all(b"still open").await.unwrap();
    near.flush().await.unwrap();
    let mut bytes = [0; 10];
    bounded("the bytes", far.read_exact(&mut bytes))
        .await
        .unwrap();
    assert_eq!(&bytes, b"still open");
    let (reader, writer) = near.into_split();
    drop(writer.reunite(reader).unwrap());
    assert_eq!(bounded("the end", far.read(&mut bytes)).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn halves_of_two_streams_are_given_back() {
    let (client, server) = ends();
    let (first, _first_far) = stream(&client.session, &server.session).await;
    let (second, mut second_far) = stream(&client.session, &server.session).await;
    let (first_reader, first_writer) = first.into_split();
    let (second_reader, second_writer) = second.into_split();
    let error = first_reader.reunite(second_writer).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the read half of stream 1 and the write half of stream 3 do not belong together"
    );
    let ReuniteError(first_reader, second_writer) = error;
    let mut second = second_reader.reunite(second_writer).unwrap();
    second.write_all(b"!").await.unwrap();
    second.flush().await.unwrap();
    assert_eq!(bounded("a byte", second_far.read_u8()).await.unwrap(), b'!');
    first_reader.reunite(first_writer).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_reset_of_the_write_half_fails_the_read_half() {
    let (mut peer, server) = Peer::new(Config::new().keep_alive(None));
    peer.send(Frame::data(1, Flags::SYN, b"hi")).await;
    let accepted = bounded("the accept", server.session.accept()).await;
    let (mut reader, mut writer) = accepted.unwrap().unwrap().into_split();
    let reading = tokio::spawn(async move {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).await
    });
    tokio::task::yield_now().await;
    writer.reset();
    let error = bounded("the reader", reading).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
    let error = bounded("a write", writer.write(b"x")).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
    loop {
        let frame = peer.receive().await;
        if frame.has(Flags::RST) {
            break;
        }
        assert_eq!(frame, Frame::window_update(1, Flags::ACK, 0));
    }
}
