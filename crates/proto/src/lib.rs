//! The messages of the Keyway plugin protocol, with optional Connect clients and servers.
//!
//! The protocol is that of Docker's secrets engine, so programs built on this crate talk to its plugins and clients.
//! This crate is data: the generated messages ([`resolver`], [`plugins`], [`accesscontrol`], [`health`], and Keyway's
//! own [`keyway`]), conversions to the types of `keyway-secrets`, the [`LaunchConfig`] of a launched
//! plugin, the rules of a [`registration`], and the [`limits`]. It opens no socket and starts no process.
//!
//! Presence is explicit in all messages: every scalar is an `Option`, and readers take an absent one as empty.
//! Messages that hold secret values redact them in `Debug` and zero them when dropped.
//!
//! Features: `client` and `server` add the Connect stubs, `json` lets those speak proto JSON as well as binary
//! (`curl` needs it). None is on by default.
//!
//! ```
//! use keyway_proto::resolver::v1::GetSecretsResponse;
//! use keyway_secrets::Envelope;
//!
//! let envelope = Envelope::new("api/token".parse()?, "not-a-real-token");
//! let response = GetSecretsResponse { envelopes: vec![envelope.into()] };
//! assert!(!format!("{response:?}").contains("not-a-real-token"));
//!
//! let envelopes: Result<Vec<Envelope>, _> = response.envelopes.into_iter().map(Envelope::try_from).collect();
//! assert_eq!(envelopes?[0].value.expose(), b"not-a-real-token");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod convert;
mod failure;
mod launch;
pub mod limits;
mod packages;
pub mod registration;
pub mod response;
pub mod write;

pub use convert::{InvalidEnvelope, timestamp};
pub use failure::{
    COMMAND_HEADER, DESCRIBE_HEADER, FAILURES_HEADER, FORCE_HEADER, INCOMPLETE_HEADER,
    MAX_COMMAND_LEN, MAY_ASK_USER_HEADER, REQUEST_ID_HEADER,
};
pub use launch::{LAUNCH_VARIABLE, LaunchConfig, LaunchConfigError, is_inherited_variable};
pub use packages::{accesscontrol, health, keyway, plugins, resolver};

/// The response header in which a daemon names the failed providers of a partial result or an error, separated by commas.
pub const FAILED_PROVIDERS_HEADER: &str = "keyway-failed-providers";
