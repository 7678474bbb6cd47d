//! One stream: its state, its windows, its unread bytes; and the table of all of them.

use crate::frame::Flags;

mod block;
mod flow;
mod recv;
mod state;
mod store;
mod windows;

pub(crate) use block::Block;
pub(crate) use flow::{Flow, List};
pub(crate) use recv::{MIN_ZERO_COPY, RecvQueue};
pub(crate) use state::{Handshake, ResetBy, State};
pub(crate) use store::{Key, Store};
pub(crate) use windows::{RecvWindow, SendWindow};

/// The state of one stream.
#[derive(Debug)]
pub(crate) struct StreamEntry {
    pub(crate) id: u32,
    pub(crate) state: State,
    pub(crate) handshake: Handshake,
    pub(crate) send_window: SendWindow,
    pub(crate) recv_window: RecvWindow,
    pub(crate) recv: RecvQueue,
    /// FIN was received. A later reset of the peer does not change that.
    pub(crate) eof: bool,
    /// The handle was dropped: the stream is neither read nor written any more.
    pub(crate) is_handle_dropped: bool,
    /// The position in the send queue behind the last SYN, ACK, data or FIN of the stream.
    pub(crate) sent_to: u64,
    /// The periods of the half-closed timeout that have passed since the stream was dropped.
    pub(crate) half_closed_periods: u8,
    pub(crate) flow: Flow,
}

impl StreamEntry {
    pub(crate) fn new(id: u32, handshake: Handshake, window: u32) -> Self {
        Self {
            id,
            state: State::Open,
            handshake,
            send_window: SendWindow::new(window),
            recv_window: RecvWindow::new(window),
            recv: RecvQueue::default(),
            eof: false,
            is_handle_dropped: false,
            sent_to: 0,
            half_closed_periods: 0,
            flow: Flow::default(),
        }
    }

    /// Takes the flags that the next frame of the stream carries, each exactly once.
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
