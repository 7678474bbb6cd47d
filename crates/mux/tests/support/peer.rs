//! A scripted peer on the other end of a wire: it sends and receives single frames.

use keyway_mux::{Config, Role};
use keyway_test_support::frame::{Frame, FrameDecoder};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::{End, bounded, end};

/// The frames that the bytes consist of.
pub(crate) fn decode_all(bytes: &[u8]) -> Vec<Frame> {
    let mut decoder = FrameDecoder::default();
    decoder.push(bytes);
    let frames = std::iter::from_fn(|| decoder.next_frame().unwrap()).collect();
    assert!(decoder.pending().is_empty(), "an incomplete frame");
    frames
}

/// The scripted end of a connection, in the client's role.
pub(crate) struct Peer {
    io: DuplexStream,
    decoder: FrameDecoder,
}

impl Peer {
    /// A peer and the session at the other end.
    pub(crate) fn new(config: Config) -> (Self, End) {
        let (near, far) = tokio::io::duplex(1 << 20);
        let peer = Self {
            io: near,
            decoder: FrameDecoder::default(),
        };
        (peer, end(far, Role::Server, config))
    }

    pub(crate) async fn send(&mut self, frame: Frame) {
        self.io.write_all(&frame.encode()).await.unwrap();
    }

    /// The next frame.
    pub(crate) async fn receive(&mut self) -> Frame {
        match self.next().await {
            Some(frame) => frame,
            None => panic!("the connection ended"),
        }
    }

    /// The next frame, or `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(frame);
            }
            let mut bytes = [0; 4096];
            match bounded("a frame", self.io.read(&mut bytes)).await.unwrap() {
                0 => {
                    assert!(self.decoder.pending().is_empty(), "an incomplete frame");
                    return None;
                }
                n_read => self.decoder.push(&bytes[..n_read]),
            }
        }
    }

    /// The frames up to the end of the connection.
    pub(crate) async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }
}
