//! The second engine, for comparison and for those who already rely on the `yamux` crate.
//!
//! [`YamuxSession`] runs the same protocol with the `yamux` crate underneath. It is an
//! [`Engine`](crate::Engine), so [`Connector`](crate::Connector) and
//! [`Listener`](crate::Listener) take it. What it cannot do (`yamux` 0.14.1):
//!
//! | | this crate's engine | the `yamux` crate |
//! |---|---|---|
//! | a peer that drains with GoAway(0) | streams go on to their end | the session ends, answers are cut off |
//! | acknowledging a stream | when it is accepted | with its first answered byte; a Go peer ends the session after 75 s without |
//! | a clean close that waits for open streams | yes, bounded | streams are cut off |
//! | keep-alive | every 30 s, both ways | answers pings only |
//! | what ends a stalled connection | a time-out | nothing |
//! | reset of one stream by its user | yes | no |
//! | refused streams | `ConnectionRefused` | look like an end or a reset |
//! | counters | yes | no |

mod io;
mod yamux;

pub use self::yamux::{YamuxDriver, YamuxError, YamuxFuture, YamuxSession, YamuxStream};
