//! What unit tests and fuzz targets share: whole sessions without sockets, in virtual time.
#![cfg_attr(
    not(test),
    allow(dead_code, reason = "fuzz targets use less of it than unit tests")
)]

pub(crate) mod exposed;
mod footprint;
pub(crate) mod model;
pub(crate) mod pair;
pub(crate) mod step;
mod window;
mod witness;
pub(crate) mod work;
