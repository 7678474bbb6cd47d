//! The driver zeroizes the blocks of a large transfer in time.

use std::{sync::Arc, time::Duration};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Driver, Shared, State};
use crate::{
    config::{Config, Role},
    error::StreamId,
    handle::Session,
    info::StreamInfo,
    io::Stream,
};

#[tokio::test(start_paused = true)]
async fn blocks_are_zeroized_when_nothing_else_happens() {
    const PIECE: usize = 64 * 1024;
    let (near, far) = tokio::io::duplex(1 << 20);
    let (client, driver) = Session::client(near, Config::default());
    tokio::spawn(driver);
    let server = Shared::new(Box::new(far), Role::Server, Config::default());
    tokio::spawn(Driver::new(Arc::clone(&server)));
    let mut sender = client.open().await.unwrap();
    sender.flush().await.unwrap();
    let accepting = server.until(&server.waits.accept, State::poll_accept);
    let key = accepting.await.unwrap().unwrap();
    let info = StreamInfo {
        id: StreamId(key.id),
        role: Role::Server,
        peer: None,
    };
    let mut receiver = Stream::new(Arc::clone(&server), key, info);
    let sending = tokio::spawn(async move {
        for _ in 0..32 {
            sender.write_all(&[7; PIECE]).await.unwrap();
        }
        sender
    });
    let mut piece = vec![0; PIECE];
    for _ in 0..32 {
        receiver.read_exact(&mut piece).await.unwrap();
        assert!(piece.iter().all(|byte| *byte == 7));
    }
    let is_zeroized = || server.with(|state| state.core.zeroize_deadline().is_none());
    assert!(!is_zeroized(), "the last read was as large as those before");
    tokio::time::sleep(Duration::from_millis(7)).await;
    assert!(is_zeroized());
    drop(sending.await.unwrap());
}
