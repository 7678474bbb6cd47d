//! What the scheduler knows of one stream.

use crate::frame::MAX_PAYLOAD;

/// The list of the scheduler in which a stream waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum List {
    /// In none: it does not wait to write, or was granted a write.
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
    /// How many bytes the stream may still send: of a sparse stream's burst, or of a bulk stream's quantum. Negative
    /// after the last write of a quantum exceeded it.
    pub(crate) credit: i32,
    /// Its writes fit into the burst that a stream may send after it was idle.
    pub(crate) is_sparse: bool,
    pub(crate) list: List,
    /// How many bytes the write that waits has.
    pub(crate) wanted: usize,
    /// How many bytes it was granted and has not sent.
    pub(crate) granted: usize,
    /// How many bytes of the send queue are reserved for it, if the reservation has not expired.
    pub(crate) reserved: usize,
    /// The driver's poll in which it was granted something last.
    pub(crate) granted_in: u32,
    /// Whether its last write was charged to its credit.
    pub(crate) is_charged: bool,
    /// Whether its quantum is a round, and not a frame.
    pub(crate) has_round: bool,
    /// The round in which its last write was sent in full, unless it waits or has no window.
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
    /// How much a stream that was idle may send before it counts as bulk: a frame, the least that another stream
    /// may have to wait for anyway.
    pub(crate) const BURST: i32 = MAX_PAYLOAD as i32;
}
