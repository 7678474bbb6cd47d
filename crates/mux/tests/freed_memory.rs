//! Memory that the crate frees holds no payload, whether the bytes were sent, read or dropped.
//!
//! A binary of its own, because its allocator looks for a mark in every block that is freed. The payload of these
//! tests is in memory that is never freed, so a mark that is found was left by the crate.

mod support;

use std::time::Duration;

use keyway_mux::{Config, Stream};
use keyway_test_support::FreedMemory;
use support::{End, bounded, pair_with, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Eight bytes in place of a secret.
const MARK: [u8; 8] = [0xa7, 0x5e, 0xc2, 0x91, 0x3d, 0xf4, 0x68, 0x1b];

#[global_allocator]
static FREED: FreedMemory = FreedMemory::new(&[&MARK]);

/// Payload full of marks, never freed.
fn payload(len: usize) -> &'static [u8] {
    let bytes: Vec<u8> = MARK.iter().copied().cycle().take(len).collect();
    bytes.leak()
}

/// Runs the operations of a test, and returns the number of freed blocks that held a mark.
async fn found(run: impl AsyncFnOnce(&End, &End)) -> usize {
    let config = || Config::new().keep_alive(Some(Duration::from_millis(50)));
    let (client, server) = pair_with(config(), config());
    FREED.start();
    run(&client, &server).await;
    drop((client.session, server.session));
    for driver in [client.driver, server.driver] {
        driver.abort();
        let _aborted = driver.await;
    }
    FREED.stop()
}

/// Reads so many bytes into memory that is never freed.
async fn read(stream: &mut Stream, len: usize) {
    let buffer = vec![0; len].leak();
    bounded("reading", stream.read_exact(buffer)).await.unwrap();
}

/// One test, because others of the process would free their own blocks meanwhile.
#[tokio::test]
async fn freed_memory_holds_no_payload() {
    // The search finds a mark that was left on purpose.
    let control = found(async |_, _| drop(std::hint::black_box(payload(100).to_vec()))).await;
    assert!(control > 0, "the allocator finds nothing");
    let small = payload(1_000);
    let large = payload(200_000);
    let sent = found(async |client, server| {
        let (mut near, mut far) = stream(&client.session, &server.session).await;
        for bytes in [&small[..8], small, &large[..16_384], large] {
            let writing = async { near.write_all(bytes).await.unwrap() };
            tokio::join!(writing, read(&mut far, bytes.len()));
        }
        // An idle session gives memory back.
        tokio::time::sleep(Duration::from_millis(200)).await;
    })
    .await;
    assert_eq!(sent, 0, "of what was sent and read");
    let growing = found(async |client, server| {
        let (mut near, _far) = stream(&client.session, &server.session).await;
        for len in 1..100 {
            near.write_all(&small[..len * 8]).await.unwrap();
        }
        near.flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    })
    .await;
    assert_eq!(growing, 0, "of a queue that grows");
    let unread = found(async |client, server| {
        let (mut near, mut far) = stream(&client.session, &server.session).await;
        for bytes in [small, &large[..50_000], small] {
            near.write_all(bytes).await.unwrap();
            near.flush().await.unwrap();
        }
        read(&mut far, 500).await;
        drop(far);
        let (near, mut far) = stream(&client.session, &server.session).await;
        let (_reader, mut near) = near.into_split();
        near.write_all(&large[..50_000]).await.unwrap();
        read(&mut far, 500).await;
        near.reset();
        assert!(bounded("a reset", near.write(b"x")).await.is_err());
    })
    .await;
    assert_eq!(unread, 0, "of what was not read");
    let cancelled = found(async |client, server| {
        for len in [100, 10_000, 200_000] {
            let (mut near, mut far) = stream(&client.session, &server.session).await;
            // Nothing is read beyond these bytes, so the write waits for the window when it is given up.
            tokio::select! {
                _ = near.write_all(payload(1_000_000)) => panic!("more than a window was written"),
                () = read(&mut far, len) => {}
            }
            drop(near);
            read(&mut far, 100).await;
        }
        let (near, mut far) = stream(&client.session, &server.session).await;
        let (reader, mut writer) = near.into_split();
        tokio::select! {
            _ = writer.write_all(payload(1_000_000)) => panic!("more than a window was written"),
            () = read(&mut far, 1_000) => {}
        }
        // The peer gives up meanwhile.
        drop(far);
        drop((reader, writer));
    })
    .await;
    assert_eq!(cancelled, 0, "of writes that were given up");
    let queued = found(async |client, server| {
        let (mut near, _far) = stream(&client.session, &server.session).await;
        // The server's driver is dropped, so the socket fills and then the queue.
        server.driver.abort();
        let writing = async { while near.write(&large[..10_000]).await.is_ok() {} };
        let _timeout = tokio::time::timeout(Duration::from_millis(100), writing).await;
    })
    .await;
    assert_eq!(queued, 0, "of what was queued at the end of the session");
}
