//! Serving HTTP/1.1 on byte streams.

mod accept;
mod activity;
mod adapter;
mod clock;
mod config;
mod connection;
mod error;
mod first;
mod stop;
mod wire;

pub use self::accept::{Served, serve};
pub use self::config::ServeConfig;
pub use self::connection::serve_connection;
pub use self::error::ServeError;
