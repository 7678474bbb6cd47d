//! Serving HTTP on byte streams.

mod accept;
mod arriving;
mod body;
mod clock;
mod connection;
mod connections;
mod error;
#[cfg(feature = "h2c")]
mod h2c;
mod http1;
mod incoming;
mod limits;
mod respond;
mod service;
mod state;
mod stop;
mod upgrade;

pub use self::accept::{Admission, Served, serve};
pub use self::body::RequestBody;
pub use self::connection::serve_connection;
pub use self::error::ServeError;
pub use self::limits::Limits;
pub use self::service::HttpService;
pub use self::upgrade::OnUpgrade;
