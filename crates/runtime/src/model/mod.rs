//! What the daemon knows about plugins in its own terms: pure data, without I/O and without async.

mod kind;
mod realm;

pub(crate) use kind::{Class, Kind, Rank};
pub(crate) use realm::Realm;
