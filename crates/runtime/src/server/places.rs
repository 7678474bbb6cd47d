//! The number of connections for which the descriptors of the process suffice.

/// The most connections at once.
const MAX_CONNECTIONS: usize = 1024;

/// The most connections beyond it, for `/health` and `GetVersion`.
const MAX_RESERVED: usize = 64;

/// The descriptors that stay free for plugins and files.
const RESERVE: u64 = 32;

/// The descriptors of one connection: its socket, and the pidfd of its peer.
///
/// The pidfd is kept for as long as the connection, so that each request learns for the price of one `poll` that its caller is
/// still the process that connected. Without it each request would read `/proc/PID/stat`, whose start time counts in hundredths of a
/// second. Fewer connections are the lower price, and only where the hard limit of open files is below 2,228.
const PER_CONNECTION: u64 = 2;

/// The number of connections that are served at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) regular: usize,
    /// Beyond `regular`, while all others are in a handler.
    pub(super) reserved: usize,
}

impl Places {
    /// Returns the places for a process that may have `limit` descriptors and has `open` ones. There is always one of
    /// each kind.
    pub(super) fn within(limit: u64, open: u64) -> Self {
        let free = limit.saturating_sub(open).saturating_sub(RESERVE);
        let affordable = usize::try_from(free / PER_CONNECTION).unwrap_or(usize::MAX);
        let reserved = (affordable / 8).clamp(1, MAX_RESERVED);
        Self {
            regular: affordable
                .saturating_sub(reserved)
                .clamp(1, MAX_CONNECTIONS),
            reserved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_a_reserve_of_descriptors() {
        for (limit, open, regular, reserved) in [
            (u64::MAX, 20, 1024, 64),
            (8192, 20, 1024, 64),
            // The last limit at which the descriptors decide.
            (2227, 20, 1023, 64),
            (1024, 24, 424, 60),
            (256, 20, 90, 12),
            (96, 20, 20, 2),
            (64, 20, 5, 1),
            (40, 20, 1, 1),
            (0, 20, 1, 1),
        ] {
            let places = Places::within(limit, open);
            assert_eq!(places, Places { regular, reserved }, "{limit}");
            let used = PER_CONNECTION * (regular + reserved) as u64;
            assert!(used + RESERVE + open <= limit || regular == 1, "{limit}");
        }
    }
}
