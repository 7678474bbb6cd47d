//! The classes of scripts.

use std::{fmt, str::FromStr};

/// A class of scripts, named after its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Requests and responses.
    Exchange,
    /// The accepting side writes first.
    AcceptorFirst,
    /// A stream is dropped right after its last write.
    WriteThenDrop,
    /// One direction ends long before the other.
    HalfClose,
    /// Streams are reset, others continue.
    Reset,
    /// Transfers in one direction that exceed the window.
    Bulk,
    /// Transfers in both directions of a stream at once.
    BulkBothWays,
    /// One small stream after the other.
    ManyStreams,
    /// An unread stream beside busy ones.
    SlowReader,
    /// Exactly the first window, without a reader.
    FullWindow,
    /// Streams are used before they are accepted.
    LateAccept,
    /// More streams than the accept queue holds.
    AcceptQueue,
    /// GoAway while streams are in use.
    GoAway,
    /// The session is closed while its last bytes are in flight.
    CloseInFlight,
    /// The session is closed while streams are in use, which continue to their end.
    CloseDrains,
    /// The session is closed while streams are idle, with blocked readers and writers.
    CloseWakes,
    /// The session is closed while streams wait to be accepted, which happens during or after the close.
    CloseUnaccepted,
    /// Both ends close the session at the same time.
    CloseBoth,
    /// One end continues to send on a stream that the other has dropped.
    LateFrames,
    /// Many keep-alive pings among the data.
    KeepAlive,
    /// Receive windows and frames larger than the first window.
    LargeWindows,
    /// All operations of streams.
    Mixed,
}

impl Class {
    /// All classes. The position in this list is part of a script's seed.
    pub const ALL: [Self; 22] = [
        Self::Exchange,
        Self::AcceptorFirst,
        Self::WriteThenDrop,
        Self::HalfClose,
        Self::Reset,
        Self::Bulk,
        Self::BulkBothWays,
        Self::ManyStreams,
        Self::SlowReader,
        Self::FullWindow,
        Self::LateAccept,
        Self::AcceptQueue,
        Self::GoAway,
        Self::CloseInFlight,
        Self::CloseDrains,
        Self::CloseWakes,
        Self::CloseUnaccepted,
        Self::CloseBoth,
        Self::LateFrames,
        Self::KeepAlive,
        Self::LargeWindows,
        Self::Mixed,
    ];

    /// Its name, as in the list of known failures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exchange => "exchange",
            Self::AcceptorFirst => "acceptor-first",
            Self::WriteThenDrop => "write-then-drop",
            Self::HalfClose => "half-close",
            Self::Reset => "reset",
            Self::Bulk => "bulk",
            Self::BulkBothWays => "bulk-both-ways",
            Self::ManyStreams => "many-streams",
            Self::SlowReader => "slow-reader",
            Self::FullWindow => "full-window",
            Self::LateAccept => "late-accept",
            Self::AcceptQueue => "accept-queue",
            Self::GoAway => "go-away",
            Self::CloseInFlight => "close-in-flight",
            Self::CloseDrains => "close-drains",
            Self::CloseWakes => "close-wakes",
            Self::CloseUnaccepted => "close-unaccepted",
            Self::CloseBoth => "close-both",
            Self::LateFrames => "late-frames",
            Self::KeepAlive => "keep-alive",
            Self::LargeWindows => "large-windows",
            Self::Mixed => "mixed",
        }
    }

    /// The failures of multiplexers that it covers, by their ids in the mux's `TESTS.md`.
    pub fn lessons(self) -> &'static str {
        match self {
            Self::Exchange | Self::Mixed => "",
            Self::AcceptorFirst | Self::LateAccept => "M1",
            Self::WriteThenDrop => "M17",
            Self::HalfClose => "M19, M20",
            Self::Reset => "M19",
            Self::Bulk => "M2",
            Self::BulkBothWays => "M3, M5",
            Self::ManyStreams => "M21",
            Self::SlowReader => "M8, M27",
            Self::FullWindow => "M25",
            Self::AcceptQueue => "M11",
            Self::GoAway => "M15",
            Self::CloseInFlight => "M16",
            Self::CloseDrains | Self::CloseUnaccepted => "M15, M16",
            Self::CloseWakes => "M4, M22",
            Self::CloseBoth => "M22, M31",
            Self::LateFrames => "M18",
            Self::KeepAlive => "M24",
            Self::LargeWindows => "M14",
        }
    }

    /// Returns `true` if its scripts need an end whose implementation, when it closes a session, waits for its streams.
    pub fn needs_drain(self) -> bool {
        matches!(self, Self::CloseDrains | Self::CloseUnaccepted)
    }

    /// The class that a seed belongs to.
    pub fn of_seed(seed: u64) -> Self {
        Self::ALL[(seed % Self::ALL.len() as u64) as usize]
    }

    /// The seed of this class that is nearest below a number.
    pub fn seed(self, number: u64) -> u64 {
        let count = Self::ALL.len() as u64;
        let place = Self::ALL.iter().position(|class| *class == self);
        number / count * count + place.unwrap_or_default() as u64
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Class {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|class| class.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("there is no class {name:?}; the classes are {names}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_knows_its_class() {
        for class in Class::ALL {
            assert_eq!(Class::of_seed(class.seed(123_456_789)), class);
            assert_eq!(class.name().parse(), Ok(class));
        }
    }
}
