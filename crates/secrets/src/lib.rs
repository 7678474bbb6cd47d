//! Secret ids, patterns with exact overlap and intersection, and values that are zeroized on drop.
//!
//! This crate holds the plain data types that every other layer of Keyway shares. It does no I/O, knows no wire
//! format, needs no async runtime and contains no `unsafe`.
//!
//! The types to know:
//!
//! - [`Id`] names one secret: `database/password`.
//! - [`Pattern`] names a set of ids: `database/*`, `**/mcp/auth/**`. It [matches](Pattern::matches) an id,
//!   [overlaps](Pattern::overlaps) or [covers](Pattern::covers) another pattern, and has an
//!   [intersection](Pattern::intersection) with it. All four operations are exact, and none takes more than 100,000
//!   steps, even for a pattern from an untrusted peer.
//! - [`SecretValue`] holds the bytes of a secret. It prints as `[redacted]`, compares in constant time and zeroizes its
//!   memory when it is dropped.
//! - [`Envelope`] is a value with its id and metadata (its provider, when it expires).
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
mod limits;
mod pattern;
mod value;

pub use envelope::Envelope;
pub use error::{ParseIdError, ParsePatternError};
pub use id::Id;
pub use pattern::Pattern;
pub use value::SecretValue;
