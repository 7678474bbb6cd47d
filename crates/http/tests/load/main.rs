//! A server under many peers that send nothing, cancel requests, or connect and disconnect.

mod abandon;
mod allocations;
mod crowd;
mod cycles;
#[cfg(feature = "h2c")]
mod floods;
mod server;
