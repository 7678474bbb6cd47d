//! One stream: its state, its windows, its unread bytes; and the table of all of them.

use crate::frame::Flags;

mod block;
mod flow;
mod recv;
mod share;
mod state;
mod store;

pub(crate) use block::Block;
pub(crate) use flow::{RecvWindow, SendWindow};
pub(crate) use recv::{MIN_ZERO_COPY, RecvQueue};
#[cfg(test)]
pub(crate) use share::LARGE_WRITE;
pub(crate) use share::Share;
pub(crate) use state::{Handshake, ResetBy, Service, State};
pub(crate) use store::{Key, Store};

/// Everything the session knows about one stream.
#[derive(Debug)]
pub(crate) struct StreamEntry {
    pub(crate) id: u32,
    pub(crate) state: State,
    pub(crate) handshake: Handshake,
    pub(crate) service: Service,
    pub(crate) send_window: SendWindow,
    pub(crate) recv_window: RecvWindow,
    pub(crate) recv: RecvQueue,
    /// FIN was received, whatever became of the stream after it.
    pub(crate) eof: bool,
    /// The handle was dropped: nobody will read or write any more.
    pub(crate) is_handle_dropped: bool,
    /// How many sweeps have found the stream dropped and not finished by the peer.
    pub(crate) half_closed_periods: u8,
    /// What it has of the connection.
    pub(crate) share: Share,
}

impl StreamEntry {
    pub(crate) fn new(id: u32, handshake: Handshake, window: u32) -> Self {
        Self {
            id,
            state: State::Open,
            handshake,
            service: Service::Begun,
            send_window: SendWindow::new(window),
            recv_window: RecvWindow::new(window),
            recv: RecvQueue::default(),
            eof: false,
            is_handle_dropped: false,
            half_closed_periods: 0,
            share: Share::default(),
        }
    }

    /// The flags that the next frame of the stream has to carry, each exactly once.
    pub(crate) fn take_flags(&mut self) -> Flags {
        match self.handshake {
            Handshake::SynDue => {
                self.handshake = Handshake::SynSent;
                Flags::SYN
            }
            Handshake::AckDue => {
                self.handshake = Handshake::Done;
                Flags::ACK
            }
            Handshake::SynSent | Handshake::Unaccepted | Handshake::Done => Flags::NONE,
        }
    }
}
