//! The daemon's records: the audit log, and its memory from one run to the next.

mod audit;
mod state;

pub(crate) use audit::{Audit, Outcome, check as check_audit};
pub(crate) use state::{Memory, StateLock};
pub use state::{NotWritten, StateLockError};
