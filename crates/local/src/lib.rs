//! Building blocks of a local client or server of any role: checks of files, peers and addresses on one machine.
//!
//! - [`Address`] and [`Places`]: the addresses of a daemon, and those at which a client looks for it.
//! - [`connect`]: a connection without waiting for a listener that hangs.
//! - [`Credentials`], [`Rule`] and [`KnownUids`]: the user at the other end of a socket, and whether that user is accepted.
//! - [`Process`] and [`is_contained`]: the process at the other end, as long as it is the same one.
//! - [`file`](mod@file): files that no other user could have written.
//! - [`forbid_inspection`] and [`forbid_core_files`]: the protection of this process's memory from other programs.
//! - [`unblock_signals`]: a signal mask that is not inherited.
//! - [`escape_untrusted`], [`shortened`] and [`format_duration`]: text of peers, for logs and terminals.
//! - [`LogWriter`]: a log that never blocks. [`TokenBucket`]: a limit for the lines that a peer causes.
//! - [`base_directory`], [`doubled`] and [`Pauses`]: XDG directories, and delays between attempts.
//!
//! This crate knows neither plugins nor RPC. Its feature `tokio` adds waits: `connect_within`,
//! `MemoryBudget` for large messages, and `readable` for descriptors.
#![deny(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod address;
mod backoff;
mod causes;
mod connect;
mod environment;
pub mod file;
mod hardening;
mod log_writer;
#[cfg(feature = "tokio")]
mod memory;
mod namespace;
mod peer;
mod places;
mod process;
mod sys;
mod text;
mod token_bucket;
pub mod uid;
mod xdg;

pub use address::{Address, MAX_ADDRESS_LENGTH, ParseAddressError};
pub use backoff::{Pauses, doubled};
pub use causes::with_causes;
pub use connect::connect;
#[cfg(feature = "tokio")]
pub use connect::{ConnectError, connect_within};
pub use environment::{
    DAEMON_UID_VARIABLE, EnvironmentError, SOCKET_VARIABLE, daemon_uid, given_address,
};
pub use hardening::{CoreLimit, forbid_core_files, forbid_inspection, suspend_core_files};
pub use log_writer::LogWriter;
#[cfg(feature = "tokio")]
pub use memory::{Kept, MemoryBudget, MemoryError, Reservation};
pub use namespace::{UnmappedUser, check_user_namespace};
pub use peer::{Credentials, ForeignPeer, Rule};
pub use places::{Listen, ListenOptions, Places};
pub use process::{Process, ProcessFacts, is_contained, is_in_own_session, is_stopped};
#[cfg(feature = "tokio")]
pub use sys::readable;
pub use sys::unblock_signals;
pub use text::{escape_untrusted, format_duration, shortened};
pub use token_bucket::TokenBucket;
pub use uid::KnownUids;
pub use xdg::base_directory;
