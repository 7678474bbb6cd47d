//! Resolution of a query: the providers that are called, the parts of their responses that count, and the caller's result.

pub(crate) mod admit;
pub(crate) mod catalog;
mod execution;
pub(crate) mod explain;
pub(crate) mod failure;
mod plan;
mod rank;
pub(crate) mod resolution;
pub(crate) mod write;

pub(crate) use execution::{report as report_call, resolve};
pub(crate) use failure::Failure;
pub(crate) use plan::{Query, pattern};
pub(crate) use resolution::Resolution;
