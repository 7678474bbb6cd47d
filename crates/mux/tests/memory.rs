//! The memory of an idle stream, as the operating system counts it.
//!
//! A binary of its own, because it counts resources of the whole process.

mod support;

use keyway_mux::Config;
use support::pair_with;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap()
        * 1024
}

#[tokio::test]
async fn an_idle_stream_costs_at_most_512_bytes_an_end() {
    const STREAMS: usize = 30_000;
    let config = || Config::new().max_streams(2 * STREAMS);
    let (client, server) = pair_with(config(), config());
    let mut held = Vec::new();
    let before = resident_bytes();
    for _ in 0..STREAMS {
        // A byte each way, so that both ends have used and emptied their queues.
        let mut near = client.session.open().await.unwrap();
        near.write_all(b"?").await.unwrap();
        near.flush().await.unwrap();
        let mut far = server.session.accept().await.unwrap().unwrap();
        assert_eq!(far.read_u8().await.unwrap(), b'?');
        far.write_all(b"!").await.unwrap();
        far.flush().await.unwrap();
        assert_eq!(near.read_u8().await.unwrap(), b'!');
        held.push(near);
        held.push(far);
    }
    assert_eq!(client.session.stats().open_streams, STREAMS);
    let each = (resident_bytes() - before) / (2 * STREAMS);
    eprintln!("an idle stream costs {each} bytes an end, handle included");
    assert!(each <= 512, "{each} bytes an end");
}
