//! What a local client or server of any role needs: checks of files, peers and addresses on one machine.
//!
//! This crate knows neither plugins nor RPC.
#![deny(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod address;
pub mod file;
pub mod uid;

pub use address::{Address, MAX_ADDRESS_LENGTH, ParseAddressError, SOCKET_VARIABLE};
