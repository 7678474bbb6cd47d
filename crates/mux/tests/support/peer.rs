//! A scripted peer on the other end of a wire: it sends and receives single frames.

use keyway_mux::{Config, Role};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::{End, bounded, end};

pub(crate) const DATA: u8 = 0;
pub(crate) const WINDOW_UPDATE: u8 = 1;
pub(crate) const PING: u8 = 2;
pub(crate) const GO_AWAY: u8 = 3;

pub(crate) const SYN: u16 = 1;
pub(crate) const ACK: u16 = 2;
pub(crate) const FIN: u16 = 4;
pub(crate) const RST: u16 = 8;

/// One frame as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u16,
    pub(crate) stream: u32,
    pub(crate) length: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn update(stream: u32, flags: u16, credit: u32) -> Self {
        Self {
            kind: WINDOW_UPDATE,
            flags,
            stream,
            length: credit,
            payload: Vec::new(),
        }
    }

    pub(crate) fn data(stream: u32, flags: u16, payload: &[u8]) -> Self {
        let length = u32::try_from(payload.len()).unwrap();
        Self {
            kind: DATA,
            flags,
            stream,
            length,
            payload: payload.to_vec(),
        }
    }

    pub(crate) fn ping(flags: u16, value: u32) -> Self {
        Self {
            kind: PING,
            flags,
            stream: 0,
            length: value,
            payload: Vec::new(),
        }
    }

    pub(crate) fn go_away(code: u32) -> Self {
        Self {
            kind: GO_AWAY,
            flags: 0,
            stream: 0,
            length: code,
            payload: Vec::new(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0, self.kind];
        bytes.extend_from_slice(&self.flags.to_be_bytes());
        bytes.extend_from_slice(&self.stream.to_be_bytes());
        bytes.extend_from_slice(&self.length.to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

impl Frame {
    /// The frames that the bytes consist of.
    pub(crate) fn decode_all(mut bytes: &[u8]) -> Vec<Self> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
            let (kind, length) = (bytes[1], number(8));
            let end = 12 + if kind == DATA { length as usize } else { 0 };
            frames.push(Self {
                kind,
                flags: u16::from_be_bytes([bytes[2], bytes[3]]),
                stream: number(4),
                length,
                payload: bytes[12..end].to_vec(),
            });
            bytes = &bytes[end..];
        }
        frames
    }
}

/// The scripted end of a connection, in the client's role.
pub(crate) struct Peer {
    io: DuplexStream,
}

impl Peer {
    /// A peer and the session that it talks to.
    pub(crate) fn new(config: Config) -> (Self, End) {
        let (near, far) = tokio::io::duplex(1 << 20);
        (Self { io: near }, end(far, Role::Server, config))
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
        let mut header = [0; 12];
        match bounded("a frame", self.io.read_exact(&mut header)).await {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return None,
            Err(error) => panic!("{error}"),
        }
        let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        let mut frame = Frame {
            kind: header[1],
            flags: u16::from_be_bytes([header[2], header[3]]),
            stream: number(4),
            length: number(8),
            payload: Vec::new(),
        };
        if frame.kind == DATA {
            frame.payload = vec![0; frame.length as usize];
            bounded("a payload", self.io.read_exact(&mut frame.payload))
                .await
                .unwrap();
        }
        Some(frame)
    }

    /// Everything up to the end of the connection.
    pub(crate) async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }
}
