//! The public client against scripted daemons.

mod responses;
mod retry;
mod script;
mod store;

#[cfg(feature = "socket")]
mod hostile;
#[cfg(feature = "socket")]
mod liveness;
#[cfg(feature = "socket")]
mod socket;
