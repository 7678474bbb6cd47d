//! What several fuzz targets share: HTTP messages as text, and a service of two methods.
#![forbid(unsafe_code)]

mod echo;
mod head;

pub use self::{
    echo::{ECHO, READ, Text, block_on, router},
    head::{Head, parse},
};
