//! Text of peers, made fit for a terminal: whatever a peer said goes through this before a user sees it.

pub(crate) use keyway_local::escape_untrusted as printable;
