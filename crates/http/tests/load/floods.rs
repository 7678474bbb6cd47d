//! Floods of HTTP/2 frames: they cost bounded memory, leave nothing, and a new client is served
//! beside them.

use keyway_http::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::allocations::allocated;
use super::server::{SECOND, Server, tasks};

/// The preface and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

const FRAMES: u32 = 50_000;

/// A frame of this type with these flags.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `POST http://x/hang`, compressed by the static table of HPACK.
const HANG: &[u8] = b"\x83\x86\x04\x05/hang\x41\x01x";

/// Sends frames until the server takes no more of them, and reads its responses or not.
async fn flood(is_read: bool, make: impl Fn(u32) -> Vec<u8>) {
    let server = Server::start(Limits::default());
    sleep(SECOND).await;
    let (tasks_before, allocated_before) = (tasks(), allocated());
    let io = server.open("").await;
    let (mut read, mut write) = tokio::io::split(io);
    let reader = tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        while is_read && read.read(&mut buffer).await.is_ok_and(|bytes| bytes > 0) {}
        // Held, so that the server sees no end.
        sleep(1000 * SECOND).await;
        drop(read);
    });
    let sending = async {
        write.write_all(PREFACE).await?;
        for number in 0..FRAMES {
            write.write_all(&make(number)).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    // It ends in time, with an error, or because the server reads no more.
    let _ = timeout(20 * SECOND, sending).await;
    let grown = allocated() - allocated_before;
    assert!(grown < 512 * 1024, "{grown} bytes more are allocated");
    server.check_new_client().await;
    sleep(180 * SECOND).await;
    assert_eq!(server.counts.alive(), [0; 3]);
    reader.abort();
    sleep(SECOND).await;
    assert_eq!(tasks(), tasks_before);
}

#[tokio::test(start_paused = true)]
async fn pings() {
    for is_read in [true, false] {
        flood(is_read, |number| {
            frame(PING, 0, 0, &u64::from(number).to_be_bytes())
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn settings() {
    for is_read in [true, false] {
        flood(is_read, |_| frame(SETTINGS, 0, 0, &[])).await;
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_reset() {
    for is_read in [true, false] {
        flood(is_read, |number| {
            let stream = 2 * number + 1;
            let mut frames = frame(HEADERS, END_HEADERS | END_STREAM, stream, HANG);
            frames.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
            frames
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_limit_of_streams() {
    for is_read in [true, false] {
        flood(is_read, |number| {
            frame(HEADERS, END_HEADERS, 2 * number + 1, HANG)
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn continuations() {
    flood(true, |number| match number {
        0 => frame(HEADERS, 0, 1, HANG),
        // A field that is not indexed: its name and its value.
        _ => frame(CONTINUATION, 0, 1, b"\x00\x04name\x05value"),
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn empty_continuations() {
    flood(true, |number| match number {
        0 => frame(HEADERS, 0, 1, HANG),
        _ => frame(CONTINUATION, 0, 1, &[]),
    })
    .await;
}

/// One byte, an index of HPACK's table, is a field of 4 KiB.
#[tokio::test(start_paused = true)]
async fn fields_that_are_compressed() {
    let mut large = b"\x40\x01a\x7f\xa1\x1e".to_vec();
    large.extend(vec![b'v'; 4000]);
    let first = [HANG, &large].concat();
    let bomb = [HANG, &[0xbe; 10_000]].concat();
    flood(true, |number| match number {
        0 => frame(HEADERS, END_HEADERS | END_STREAM, 1, &first),
        _ => frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &bomb),
    })
    .await;
}
