//! Secret ids, patterns with exact overlap and intersection, and values that wipe themselves.
//!
//! This crate is the vocabulary of Keyway: plain data that every other layer shares. It does no I/O, knows no wire
//! format, needs no async runtime and contains no `unsafe`.
//!
//! The types to know:
//!
//! - [`Id`] names one secret: `database/password`.
//! - [`Pattern`] names a set of ids: `database/*`, `**/mcp/auth/**`. It answers whether it [matches](Pattern::matches)
//!   an id, [overlaps](Pattern::overlaps) or [covers](Pattern::covers) another pattern, and what the
//!   [intersection](Pattern::intersection) of two patterns is. All four are exact and none is exponential, whatever
//!   pattern a stranger sends.
//! - [`SecretValue`] holds the bytes of a secret. It prints as `[redacted]`, compares in constant time and wipes its
//!   memory when it is dropped.
//! - [`Envelope`] is a value with its id and the facts about it (who provided it, when it expires).
//!
//! ```
//! use keyway_secrets::{Envelope, Id, Pattern};
//!
//! let id: Id = "database/production/password".parse()?;
//! let realm: Pattern = "database/**".parse()?;
//! let query: Pattern = "**/password".parse()?;
//!
//! assert!(realm.matches(&id));
//! assert_eq!(realm.intersection(&query).unwrap().as_str(), "database/**/password");
//!
//! let envelope = Envelope::new(id, "not-a-real-password");
//! assert!(!format!("{envelope:?}").contains("not-a-real-password"));
//! assert_eq!(envelope.value.expose(), b"not-a-real-password");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod envelope;
mod error;
mod id;
mod pattern;
mod value;

pub use envelope::Envelope;
pub use error::{ParseIdError, ParsePatternError};
pub use id::Id;
pub use pattern::Pattern;
pub use value::SecretValue;
