//! A server under many peers that do nothing, that give up, or that come and go.

mod abandon;
mod allocations;
mod crowd;
mod cycles;
#[cfg(feature = "h2c")]
mod floods;
mod server;
