//! Each setting at zero, with a well-behaved peer.

mod support;

use std::time::Duration;

use keyway_mux::{Config, OpenError};
use support::{bounded, close, end, stream, wired_pair_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Each setting at zero.
fn settings() -> Vec<(&'static str, Config)> {
    let config = Config::new;
    vec![
        ("accept_backlog", config().accept_backlog(0)),
        ("close_timeout", config().close_timeout(Duration::ZERO)),
        ("drain_timeout", config().drain_timeout(Duration::ZERO)),
        ("keep_alive", config().keep_alive(Some(Duration::ZERO))),
        (
            "keep_alive_timeout",
            config().keep_alive_timeout(Duration::ZERO),
        ),
        ("max_buffered", config().max_buffered(0)),
        ("max_control_replies", config().max_control_replies(0)),
        ("max_stream_window", config().max_stream_window(0)),
        ("max_streams", config().max_streams(0)),
        ("max_unacknowledged", config().max_unacknowledged(0)),
        ("max_window_growth", config().max_window_growth(0)),
        ("send_queue", config().send_queue(0)),
        ("write_timeout", config().write_timeout(Duration::ZERO)),
        (
            "all",
            config()
                .accept_backlog(0)
                .close_timeout(Duration::ZERO)
                .drain_timeout(Duration::ZERO)
                .keep_alive(Some(Duration::ZERO))
                .keep_alive_timeout(Duration::ZERO)
                .max_buffered(0)
                .max_control_replies(0)
                .max_stream_window(0)
                .max_streams(0)
                .max_unacknowledged(0)
                .max_window_growth(0)
                .send_queue(0)
                .write_timeout(Duration::ZERO),
        ),
    ]
}

/// Calls in both directions, one after the other, with large bodies and pauses.
async fn works(what: &str, client: Config, server: Config) {
    let (client, server) = wired_pair_with(1 << 16, 1 << 16, client, server);
    for (opener, acceptor) in [(&client, &server), (&server, &client)] {
        for _ in 0..3 {
            let (near, far) = stream(&opener.session, &acceptor.session).await;
            let (mut reader, mut writer) = near.into_split();
            let (mut far_reader, mut far_writer) = far.into_split();
            let request = vec![7; 1 << 20];
            let writing = async {
                writer.write_all(&request).await.unwrap();
                writer.shutdown().await.unwrap();
            };
            let echoing = async {
                tokio::io::copy(&mut far_reader, &mut far_writer)
                    .await
                    .unwrap();
                far_writer.shutdown().await.unwrap();
            };
            let mut response = Vec::new();
            let reading = reader.read_to_end(&mut response);
            let (_, _, read) =
                bounded(what, async { tokio::join!(writing, echoing, reading) }).await;
            read.unwrap();
            assert!(response == request, "{what}");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        bounded(what, opener.session.ping()).await.unwrap();
    }
    // Written bytes of a dropped stream are delivered.
    let mut near = client.session.open().await.unwrap();
    near.write_all(b"the last words").await.unwrap();
    drop(near);
    tokio::time::sleep(Duration::from_millis(250)).await;
    let accepted = bounded(what, server.session.accept()).await;
    let mut text = String::new();
    let mut far = accepted.unwrap().unwrap();
    far.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "the last words", "{what}");
    drop(far);
    tokio::time::sleep(Duration::from_millis(50)).await;
    bounded(what, close(&client.session)).await.unwrap();
    bounded(what, server.session.closed()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_setting_of_zero_means_its_minimum() {
    for (what, config) in settings() {
        works(what, config.clone(), Config::new()).await;
        works(what, Config::new(), config.clone()).await;
        works(what, config.clone(), config).await;
    }
}

/// The two limits of `open`: at one it waits, at the other it fails, and `try_open` fails at both.
#[tokio::test(start_paused = true)]
async fn open_waits_at_the_acknowledgement_limit_and_fails_at_the_stream_limit() {
    let (near, _far) = tokio::io::duplex(1 << 16);
    let config = Config::new().keep_alive(None).max_unacknowledged(1);
    let client = end(near, keyway_mux::Role::Client, config.max_streams(2));
    let first = client.session.try_open().unwrap();
    assert!(matches!(
        client.session.try_open(),
        Err(OpenError::TooManyUnacknowledged { limit: 1 })
    ));
    let waiting = tokio::time::timeout(Duration::from_secs(1), client.session.open());
    assert!(waiting.await.is_err(), "the peer has acknowledged nothing");
    drop(first);
    client.session.try_open().unwrap();

    let (client, server) = wired_pair_with(
        1 << 16,
        1 << 16,
        Config::new().max_streams(1),
        Config::new(),
    );
    let _streams = stream(&client.session, &server.session).await;
    for opened in [client.session.open().await, client.session.try_open()] {
        assert!(matches!(
            opened,
            Err(OpenError::TooManyStreams { limit: 1 })
        ));
    }
}
