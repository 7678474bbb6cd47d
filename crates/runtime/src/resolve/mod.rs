//! Resolving a query: which providers are called, what of their responses counts, and what the caller receives.

pub(crate) mod admit;
mod ask;
pub(crate) mod catalog;
pub(crate) mod explain;
pub(crate) mod failure;
pub(crate) mod judge;
mod plan;
mod rank;

pub(crate) use ask::resolve;
pub(crate) use failure::Failure;
pub(crate) use judge::Resolution;
pub(crate) use plan::{Query, pattern};
