//! The client's side: one exchange on one byte stream, and the transports made of it.

mod body;
mod connect;
mod error;
mod exchange;
mod pool;
mod request;
mod upgrade;

pub use self::body::ExchangeBody;
pub use self::connect::Exchange;
pub use self::error::ExchangeError;
pub use self::pool::{KeptStream, Pool, Repeatable};
pub use self::upgrade::{UpgradeError, upgrade};
