//! The server's half: requests to calls, and results to responses.

mod head;
mod negotiation;
mod response;

pub(crate) use self::negotiation::{Negotiated, negotiate};
pub(crate) use self::response::{failure, success, too_large};
