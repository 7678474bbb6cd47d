//! The client of the local Keyway daemon, async or blocking.
//!
//! This is the client side of `resolver.v1.ResolverService` and its siblings. It does not know how secrets are stored
//! or how the daemon calls its plugins, and it works with any daemon of the protocol.
//!
//! - [`Resolver`] resolves and lists secrets over any transport: a tower service that sends HTTP requests.
//! - [`Store`] writes secrets: [`Resolver::store`] makes one.
//! - [`DaemonSocket`] (feature `socket`, on by default) is the transport over Unix sockets: it finds the daemon's
//!   socket, refuses a daemon of another user, keeps connections, and reconnects after a restart of the daemon.
//! - [`blocking::Resolver`] (feature `blocking`) combines both for programs without an async runtime.
//!
//! A program gets the right value or none: [`Resolver::get_one`] never returns a value while a provider that could overrule it
//! failed. [`Secrets::failures`] and [`ResolveError::Uncertain`] describe those providers. Errors distinguish not found,
//! denied, uncertain, conflict, unavailable and no daemon.
//!
#![cfg_attr(feature = "socket", doc = "```no_run")]
#![cfg_attr(not(feature = "socket"), doc = "```ignore")]
//! use keyway_resolver::{DaemonSocket, Resolver};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let resolver = Resolver::new(DaemonSocket::from_env()?);
//! let token = resolver.get_one(&"api/token".parse()?).await?;
//! assert!(!token.value.is_empty());
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

#[cfg(all(doctest, feature = "blocking"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(feature = "blocking")]
pub mod blocking;
mod client;
mod decode;
mod error;
mod failure;
#[cfg(feature = "socket")]
mod fork;
mod response;
mod retry;
#[cfg(feature = "socket")]
mod socket;
mod store;

pub use client::Resolver;
pub use error::{GetOneError, ResolveError, WriteError};
pub use failure::{FailureKind, ProviderFailure};
pub use response::{Authorization, Catalog, Entry, Rejected, Secrets, Unlisted, UnlistedReason};
#[cfg(feature = "socket")]
pub use socket::{Attempt, ConnectError, DaemonSocket, DialError, ResponseBody, SocketError};

pub use store::{Removed, Store, Stored, Versions};

pub use keyway_local::{Address, EnvironmentError, ParseAddressError, Places, daemon_uid};
pub use keyway_proto::write::{Expected, StoredVersion};
pub use keyway_secrets::{Envelope, Id, Pattern, SecretValue};
