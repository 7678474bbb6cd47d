//! Authorization: one table for every service and for `/hijack`.
//!
//! [`Authorizer::permit`] reads the table, and consults the access-control modules if the table requires that. A [`Permit`]
//! cannot be made in another way, so only permitted callers reach a function that takes one.

mod action;
mod authorizer;
mod modules;
mod refusal;
mod reserved;
mod table;
mod user;

pub(crate) use action::{Action, Manage};
pub(crate) use authorizer::{Authorizer, Permit, Permitted};
pub use reserved::is_reserved;
pub(crate) use reserved::is_within_reserved;
pub(crate) use user::User;

#[cfg(test)]
mod tests;
