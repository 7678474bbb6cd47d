//! Pings of the user, and the reported end of a session.

mod support;

use std::time::Duration;

use keyway_mux::{Config, SessionError};
use support::{End, Flags, Frame, Kind, Peer, bounded, close, pair, stream};
use tokio::{io::AsyncWriteExt, task::JoinHandle, time::sleep};

const SECOND: Duration = Duration::from_secs(1);

fn ping(server: &End) -> JoinHandle<Result<Duration, SessionError>> {
    let session = server.session.clone();
    tokio::spawn(async move { session.ping().await })
}

#[tokio::test(start_paused = true)]
async fn a_ping_measures_the_round_trip() {
    let (mut peer, server) = Peer::new(Config::new().keep_alive(None));
    assert_eq!(server.session.stats().rtt, None);
    let pinging = ping(&server);
    assert_eq!(peer.receive().await, Frame::ping(Flags::SYN, 0));
    sleep(SECOND).await;
    peer.send(Frame::ping(Flags::ACK, 0)).await;
    assert_eq!(bounded("the ping", pinging).await.unwrap().unwrap(), SECOND);
    assert_eq!(server.session.stats().rtt, Some(SECOND));
}

#[tokio::test(start_paused = true)]
async fn pings_at_the_same_time_are_one() {
    let (mut peer, server) = Peer::new(Config::new().keep_alive(None));
    let pings = [ping(&server), ping(&server), ping(&server)];
    assert_eq!(peer.receive().await, Frame::ping(Flags::SYN, 0));
    // The next frame is the next ping.
    peer.send(Frame::ping(Flags::ACK, 0)).await;
    for pinging in pings {
        bounded("a ping", pinging).await.unwrap().unwrap();
    }
    let pinging = ping(&server);
    assert_eq!(peer.receive().await, Frame::ping(Flags::SYN, 1));
    // A response to another ping is ignored.
    peer.send(Frame::ping(Flags::ACK, 0)).await;
    sleep(SECOND).await;
    assert!(!pinging.is_finished());
    peer.send(Frame::ping(Flags::ACK, 1)).await;
    bounded("the ping", pinging).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_ping_leaves_no_waiter() {
    let (mut peer, server) = Peer::new(Config::new().keep_alive(None));
    for _ in 0..3 {
        let cancelled = tokio::time::timeout(SECOND, server.session.ping()).await;
        assert!(cancelled.is_err());
    }
    assert_eq!(peer.receive().await, Frame::ping(Flags::SYN, 0));
    peer.send(Frame::ping(Flags::ACK, 0)).await;
    let pinging = ping(&server);
    sleep(SECOND).await;
    if !pinging.is_finished() {
        assert_eq!(peer.receive().await, Frame::ping(Flags::SYN, 1));
        peer.send(Frame::ping(Flags::ACK, 1)).await;
    }
    bounded("the ping", pinging).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_silent_after_a_ping_loses_its_session() {
    let config = Config::new().keep_alive(None).keep_alive_timeout(SECOND);
    let (_peer, server) = Peer::new(config);
    let failed = bounded("the ping", server.session.ping()).await;
    assert!(matches!(failed, Err(SessionError::KeepAliveTimeout(_))));
    let failed = server.session.ping().await;
    assert!(matches!(failed, Err(SessionError::KeepAliveTimeout(_))));
}

#[tokio::test]
async fn a_ping_of_a_closed_session_fails() {
    let (client, server) = pair();
    bounded("a ping", client.session.ping()).await.unwrap();
    bounded("the close", close(&client.session)).await.unwrap();
    for session in [client.session, server.session] {
        bounded("the end", session.closed()).await.unwrap();
        let failed = session.ping().await;
        assert!(matches!(failed, Err(SessionError::Closed)), "{failed:?}");
    }
}

#[tokio::test]
async fn a_session_is_closing_as_soon_as_either_end_closes() {
    let (client, server) = pair();
    let (near, far) = stream(&client.session, &server.session).await;
    assert!(!client.session.is_closing() && !server.session.is_closing());
    server.session.go_away();
    bounded("the notice", client.session.peer_draining()).await;
    assert!(client.session.is_closing(), "the peer takes no streams");
    assert!(!server.session.is_closing(), "this end may open some");
    drop((near, far));
    server.session.close();
    assert!(server.session.is_closing());
    bounded("the end", server.session.closed()).await.unwrap();
    assert!(client.session.is_closing());
    assert!(
        bounded("an accept", server.session.accept())
            .await
            .unwrap()
            .is_none()
    );
}

/// The end of the connection within a header, and within a payload, is not "0 streams were in use".
#[tokio::test(start_paused = true)]
async fn an_end_within_a_frame_has_an_error_of_its_own() {
    let (mut peer, server) = Peer::new(Config::new().keep_alive(None));
    peer.send(Frame::data(1, Flags::SYN, b"hi")).await;
    let accepted = bounded("the accept", server.session.accept()).await;
    drop(accepted.unwrap().unwrap());
    assert_eq!(
        peer.receive().await,
        Frame::window_update(1, Flags::ACK.with(Flags::FIN), 0)
    );
    let mut frame = Frame::data(1, Flags::FIN, b"cut");
    frame.header.length = 100;
    assert_eq!(frame.header.kind, Kind::Data);
    peer.send(frame).await;
    drop(peer);
    let failed = bounded("the end", server.session.closed()).await;
    assert!(
        matches!(failed, Err(SessionError::IncompleteFrame)),
        "{failed:?}"
    );
    assert_eq!(
        failed.unwrap_err().to_string(),
        "the peer closed the connection within a frame"
    );
}

/// `Open` stays pending after its result, and opens nothing more.
#[tokio::test]
async fn the_future_of_an_open_is_fused() {
    let (client, _server) = pair();
    let mut opening = client.session.open();
    let mut stream = (&mut opening).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    let again = tokio::time::timeout(Duration::from_millis(20), &mut opening).await;
    assert!(again.is_err());
    assert_eq!(client.session.stats().opened, 1);
}
