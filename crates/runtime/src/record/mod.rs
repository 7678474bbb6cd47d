//! What the daemon writes down of what happened.

mod audit;

pub(crate) use audit::{Audit, Outcome};
