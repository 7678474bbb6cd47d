//! What the daemon writes down: the audit log, and what it remembers from one run to the next.

mod audit;
mod memory;

pub(crate) use audit::{Audit, Outcome};
pub(crate) use memory::Memory;
