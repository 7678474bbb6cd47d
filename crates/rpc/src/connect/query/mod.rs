//! The query string of a GET call.

#[cfg(feature = "server")]
mod parse;
#[cfg(feature = "client")]
mod write;

#[cfg(feature = "server")]
pub(super) use self::parse::Query;
#[cfg(feature = "client")]
pub(super) use self::write::write;
