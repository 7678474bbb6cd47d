//! The settings of a router.

use std::time::Duration;

use crate::Compression;

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) max_message_size: usize,
    pub(super) read_timeout: Duration,
    pub(super) max_timeout: Option<Duration>,
    pub(super) compression: Compression,
    pub(super) require_protocol_version: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_message_size: 16 * 1024 * 1024,
            read_timeout: Duration::from_secs(30),
            max_timeout: None,
            compression: Compression::Never,
            require_protocol_version: false,
        }
    }
}
