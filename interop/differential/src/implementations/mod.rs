//! The implementations that play in this process.

mod driven;
mod native;
mod tokio_yamux;
mod yamux_crate;

pub(crate) use self::{native::native, tokio_yamux::tokio_yamux, yamux_crate::yamux_crate};
