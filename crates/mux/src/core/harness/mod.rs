//! Helpers of unit tests and fuzz targets: whole sessions without sockets, in virtual time.
#![cfg_attr(
    not(test),
    allow(dead_code, reason = "fuzz targets use less of it than unit tests")
)]

pub(crate) mod invariant_view;
mod memory_accounting;
pub(crate) mod model;
mod output_checker;
pub(crate) mod pair;
pub(crate) mod scripted_step;
mod window_oracle;
pub(crate) mod work;
