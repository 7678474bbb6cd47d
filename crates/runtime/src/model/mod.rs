//! The daemon's model of plugins: pure data, without async and without the state of any connection.

mod expiry;
mod file_identity;
mod kind;
pub(crate) mod name;
mod realm;
mod request_id;
mod sha256;
pub(crate) mod state;

pub(crate) use expiry::expires_at;
pub(crate) use file_identity::FileIdentity;
pub(crate) use kind::{Class, Kind, Rank};
pub(crate) use name::{ParsePluginNameError, PluginName};
pub(crate) use realm::Realm;
pub(crate) use request_id::RequestId;
pub use sha256::Sha256;
