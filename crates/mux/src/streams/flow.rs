//! The scheduler's state of one stream.

use crate::frame::MAX_PAYLOAD;

/// The list of the scheduler in which a stream waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum List {
    /// In none: the stream does not wait to write, or was granted a write.
    #[default]
    None,
    /// With the sparse streams.
    New,
    /// With the bulk streams.
    Old,
}

/// Per-stream state of the scheduler.
#[derive(Debug)]
pub(crate) struct Flow {
    /// The bytes that the stream may still send: of a sparse stream's burst, or of a bulk stream's quantum. Negative
    /// after the last write of a quantum exceeded it.
    pub(crate) credit: i32,
    /// All writes since the stream was idle fit into its burst.
    pub(crate) is_sparse: bool,
    pub(crate) list: List,
    /// The length of the waiting write.
    pub(crate) wanted: usize,
    /// The bytes that were granted and not sent yet.
    pub(crate) granted: usize,
    /// The bytes of the send queue that are reserved for the stream, unless the reservation has expired.
    pub(crate) reserved: usize,
    /// The poll of the driver in which the last grant was made.
    pub(crate) granted_in: u32,
    /// `true` if the last write was charged to the credit.
    pub(crate) is_charged: bool,
    /// `true` if the quantum is a round, and not a frame.
    pub(crate) has_round: bool,
    /// The round in which the last write was sent in full, unless the stream waits or has no window.
    pub(crate) idle_since: Option<u32>,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            credit: Self::BURST,
            is_sparse: true,
            list: List::None,
            wanted: 0,
            granted: 0,
            reserved: 0,
            granted_in: 0,
            is_charged: false,
            has_round: false,
            idle_since: None,
        }
    }
}

impl Flow {
    /// The bytes that a stream may send after it was idle before it counts as bulk: a frame, because other streams may
    /// have to wait for one anyway.
    pub(crate) const BURST: i32 = MAX_PAYLOAD as i32;
}
