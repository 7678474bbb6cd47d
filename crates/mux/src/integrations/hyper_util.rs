//! Streams as connections of hyper-util's pooled client.

use hyper_util::client::legacy::connect::{Connected, Connection};

use crate::io::Stream;

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.info())
    }
}
