//! The programs with which the official Connect conformance suite tests `keyway-rpc`.
//!
//! `conformance-server` and `conformance-client` speak the suite's own protocol on their standard
//! input and output; `cargo xtask conformance` runs the suite with them. With `--through-mux` each
//! connection also passes a stream of one multiplexed session. They are not examples of
//! how to use the crate: they report the facts of each call that the suite requires.
#![forbid(unsafe_code)]

pub mod client;
mod frame;
mod headers;
mod network;
pub mod server;

pub use self::network::Network;

/// The suite's messages and its service.
#[allow(missing_docs, reason = "the documentation is the suite's")]
#[allow(
    clippy::doc_markdown,
    clippy::doc_lazy_continuation,
    clippy::large_enum_variant,
    reason = "the text is the suite's"
)]
pub mod suite {
    include!(concat!(env!("OUT_DIR"), "/connectrpc.conformance.v1.rs"));
}
