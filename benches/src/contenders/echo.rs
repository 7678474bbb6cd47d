//! An echo of 64 bytes on a socket pair: the cost of the operating system alone.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::spawn_local;

use super::Contender;

/// A bare socket pair.
pub struct RawEcho(UnixStream);

impl Contender for RawEcho {
    async fn start() -> Self {
        let (near, mut far) = UnixStream::pair().expect("a socket pair");
        spawn_local(async move {
            let mut buffer = [0; 64];
            while far.read_exact(&mut buffer).await.is_ok() {
                far.write_all(&buffer).await.expect("the other end reads");
            }
        });
        Self(near)
    }

    async fn call(&mut self) {
        let mut buffer = [7; 64];
        self.0
            .write_all(&buffer)
            .await
            .expect("the other end reads");
        self.0
            .read_exact(&mut buffer)
            .await
            .expect("the other end responds");
        assert_eq!(buffer, [7; 64]);
    }
}
