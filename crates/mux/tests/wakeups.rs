//! Waiting tasks are woken. Time is paused, so a lost wake-up fails at once.

mod support;

use std::{io::ErrorKind, time::Duration};

use keyway_mux::{Config, SessionError};
use support::{bounded, close, pair, stream, wired_pair, wired_pair_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(start_paused = true)]
async fn m02_a_one_way_transfer_needs_no_reader_on_the_writers_side() {
    for (capacity, chunk) in [(1 << 20, 1 << 20), (4096, 1000), (100, 7)] {
        let (client, server) = wired_pair(capacity, chunk);
        let (mut near, mut far) = stream(&client.session, &server.session).await;
        let total = if capacity < 4096 { 300_000 } else { 4 << 20 };
        let writing = tokio::spawn(async move {
            near.write_all(&vec![7; total]).await.unwrap();
            near.shutdown().await.unwrap();
            near
        });
        let mut bytes = Vec::new();
        bounded("the transfer", far.read_to_end(&mut bytes))
            .await
            .unwrap();
        assert_eq!(bytes.len(), total);
        writing.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn m03_halves_in_two_tasks_have_wake_ups_of_their_own() {
    for (capacity, chunk) in [(1 << 20, 1 << 20), (2000, 333)] {
        let (client, server) = wired_pair(capacity, chunk);
        let (near, far) = stream(&client.session, &server.session).await;
        let echo = tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(far);
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
            writer.shutdown().await.unwrap();
        });
        let (mut reader, mut writer) = tokio::io::split(near);
        let writing = tokio::spawn(async move {
            writer.write_all(&[5; 512 * 1024]).await.unwrap();
            writer.shutdown().await.unwrap();
        });
        let mut bytes = Vec::new();
        bounded("the echo", reader.read_to_end(&mut bytes))
            .await
            .unwrap();
        assert_eq!(bytes, vec![5; 512 * 1024]);
        writing.await.unwrap();
        echo.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn m04_close_wakes_blocked_readers() {
    let (client, server) = wired_pair(1 << 20, 1 << 20);
    let (mut near, mut far) = stream(&client.session, &server.session).await;
    let near = tokio::spawn(async move { near.read_u8().await });
    let far = tokio::spawn(async move { far.read_u8().await });
    tokio::task::yield_now().await;
    client.session.close();
    let closing = client.session.closed();
    let error = bounded("the reader here", near).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    let error = bounded("the reader there", far).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let closed = bounded("the close", closing).await;
    assert!(matches!(
        closed,
        Err(SessionError::DrainTimeout { streams: 1 })
    ));
    server.finished().await;
}

#[tokio::test(start_paused = true)]
async fn m04_the_end_of_the_connection_wakes_all_tasks() {
    let (client, server) = wired_pair(1 << 20, 1 << 20);
    let (mut near, _far) = stream(&client.session, &server.session).await;
    let (mut stuck, _stuck_far) = stream(&client.session, &server.session).await;
    let reader = tokio::spawn(async move { near.read_u8().await });
    let writer = tokio::spawn(async move { stuck.write_all(&[0; 1 << 20]).await });
    let session = client.session.clone();
    let accepting = tokio::spawn(async move { session.accept().await.map(drop) });
    let session = client.session.clone();
    let draining = tokio::spawn(async move { session.peer_draining().await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    server.driver.abort();
    drop(server);
    assert!(bounded("the reader", reader).await.unwrap().is_err());
    assert!(bounded("the writer", writer).await.unwrap().is_err());
    assert!(bounded("the accept", accepting).await.unwrap().is_err());
    bounded("the notice", draining).await.unwrap();
    let outcome = bounded("the driver", client.driver).await.unwrap();
    assert!(
        matches!(outcome, Err(SessionError::ConnectionLost { .. })),
        "{outcome:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn m05_both_ends_fill_the_connection_and_continue() {
    let (client, server) = wired_pair(64, 64);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (near, far) = stream(&client.session, &server.session).await;
        for end in [near, far] {
            let (mut reader, mut writer) = tokio::io::split(end);
            tasks.spawn(async move {
                writer.write_all(&[1; 50_000]).await.unwrap();
                writer.shutdown().await.unwrap();
            });
            tasks.spawn(async move {
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).await.unwrap();
                assert_eq!(bytes.len(), 50_000);
            });
        }
    }
    bounded("the transfers", tasks.join_all()).await;
}

#[tokio::test(start_paused = true)]
async fn opening_continues_when_an_acknowledgement_arrives() {
    let config = Config::new().max_unacknowledged(2);
    let (client, server) = wired_pair_with(4096, 4096, config, Config::new());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let session = client.session.clone();
        tasks.spawn(async move {
            let mut stream = session.open().await.unwrap();
            stream.write_all(b"x").await.unwrap();
            stream.shutdown().await.unwrap();
            stream
        });
    }
    let session = server.session.clone();
    let accepting = tokio::spawn(async move {
        let mut streams = Vec::new();
        for _ in 0..20 {
            streams.push(session.accept().await.unwrap().unwrap());
        }
        streams
    });
    bounded("the opens", tasks.join_all()).await;
    bounded("the accepts", accepting).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_open_passes_its_wake_up_on() {
    let config = Config::new().max_unacknowledged(1);
    let (client, server) = wired_pair_with(4096, 4096, config, Config::new());
    let mut first = client.session.open().await.unwrap();
    first.write_all(b"x").await.unwrap();
    let mut cancelled = Box::pin(client.session.open());
    assert!(futures::poll!(cancelled.as_mut()).is_pending());
    let waiting = tokio::spawn(client.session.open());
    tokio::task::yield_now().await;
    drop(cancelled);
    let _accepted = bounded("the accept", server.session.accept())
        .await
        .unwrap()
        .unwrap();
    bounded("the open", waiting).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_accept_passes_its_wake_up_on() {
    let (client, server) = wired_pair(4096, 4096);
    let mut cancelled = Box::pin(server.session.accept());
    assert!(futures::poll!(cancelled.as_mut()).is_pending());
    let waiting = {
        let session = server.session.clone();
        tokio::spawn(async move { session.accept().await })
    };
    tokio::task::yield_now().await;
    let mut stream = client.session.open().await.unwrap();
    stream.write_all(b"x").await.unwrap();
    // The driver wakes the first task, which is dropped without another poll.
    support::eventually("the offer", || server.session.stats().open_streams == 1).await;
    drop(cancelled);
    bounded("the accept", waiting).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn cancelled_reads_and_writes_lose_nothing() {
    let (client, server) = wired_pair(1000, 100);
    let (mut near, mut far) = stream(&client.session, &server.session).await;
    let writing = tokio::spawn(async move {
        let mut sent = 0usize;
        while sent < 300_000 {
            let bytes: Vec<u8> = (sent..300_000.min(sent + 5000))
                .map(|at| at as u8)
                .collect();
            // Each write is cancelled after its first poll and made again.
            let mut write = Box::pin(near.write(&bytes));
            if let std::task::Poll::Ready(count) = futures::poll!(write.as_mut()) {
                sent += count.unwrap();
            }
            drop(write);
            tokio::task::yield_now().await;
        }
        near.shutdown().await.unwrap();
        near
    });
    let reading = tokio::spawn(async move {
        let mut bytes = Vec::new();
        let mut buffer = [0; 700];
        loop {
            let mut read = Box::pin(far.read(&mut buffer));
            let polled = futures::poll!(read.as_mut());
            drop(read);
            match polled {
                std::task::Poll::Ready(count) => match count.unwrap() {
                    0 => break,
                    count => bytes.extend_from_slice(&buffer[..count]),
                },
                std::task::Poll::Pending => tokio::task::yield_now().await,
            }
        }
        bytes
    });
    let bytes = bounded("the reader", reading).await.unwrap();
    assert!(bytes == (0..300_000usize).map(|at| at as u8).collect::<Vec<_>>());
    writing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_threads_use_one_session_at_once() {
    let (client, server) = pair();
    let accepting = tokio::spawn(async move {
        let mut tasks = tokio::task::JoinSet::new();
        while let Ok(Some(stream)) = server.session.accept().await {
            tasks.spawn(async move {
                let (mut reader, mut writer) = tokio::io::split(stream);
                tokio::io::copy(&mut reader, &mut writer).await.unwrap();
                writer.shutdown().await.unwrap();
            });
        }
        tasks.join_all().await;
    });
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..16usize {
        let session = client.session.clone();
        tasks.spawn(async move {
            for round in 0..30usize {
                let length = (caller * 7919 + round * 104_729) % 200_000;
                let mut stream = session.open().await.unwrap();
                let sent = vec![round as u8; length];
                let (mut reader, mut writer) = tokio::io::split(&mut stream);
                let writing = async {
                    writer.write_all(&sent).await.unwrap();
                    writer.shutdown().await.unwrap();
                };
                let mut bytes = Vec::new();
                let (_, read) = tokio::join!(writing, reader.read_to_end(&mut bytes));
                read.unwrap();
                assert!(bytes == sent, "caller {caller} round {round}");
            }
        });
    }
    bounded("the callers", tasks.join_all()).await;
    bounded("the close", close(&client.session)).await.unwrap();
    bounded("the server", accepting).await.unwrap();
}
