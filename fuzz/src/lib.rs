//! Helpers of several fuzz targets: HTTP messages as text, a service of two methods, and a
//! connection whose bytes arrive in pieces.
#![forbid(unsafe_code)]

mod echo;
mod head;
mod wire;

pub use self::{
    echo::{ECHO, READ, Text, block_on, router},
    head::{Head, parse},
    wire::Wire,
};
