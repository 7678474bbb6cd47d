//! Code generation for `keyway-rpc`: prost messages, service traits, servers and clients from
//! `.proto` files, without `protoc`.
//!
//! It runs at build time, and nothing depends on it at run time. It does not read editions (files
//! with `edition = "2023"`): write their proto3 twins, in which every field with explicit presence
//! is `optional`; the wire is the same.
//!
//! [`configure`] makes a [`Builder`]; [`Builder::compile`] writes one Rust file for each package.
//! In a `build.rs` the files go to `OUT_DIR`:
//!
//! ```no_run
//! fn main() -> Result<(), keyway_rpc_build::Error> {
//!     keyway_rpc_build::configure().compile(&["proto/greet/v1/greet.proto"], &["proto"])
//! }
//! ```
//!
//! and the crate includes them as
//! `mod greet { include!(concat!(env!("OUT_DIR"), "/greet.v1.rs")); }`. To commit generated code,
//! call it from a program of your own with [`Builder::out_dir`].
//!
//! The file of a `service Greeter` holds the trait `Greeter` to implement, `GreeterServer<T>` to
//! add to a `keyway_rpc::Router`, `GreeterClient<S>` to call it over any tower service, and the
//! module `greeter_methods` with a `MethodSpec` for each method.
#![forbid(unsafe_code)]

mod builder;
mod comments;
mod descriptors;
mod error;
mod message;
mod naming;
mod output;
mod service;
mod settings;
mod source;
mod types;

pub use self::builder::{Builder, configure};
pub use self::error::Error;
pub use self::settings::Emit;

/// The examples of the README are compiled with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
