//! The settings of a router.

use std::time::Duration;

use crate::memory::SharedBudget;
use crate::{Compression, MethodSpec};

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) max_message_size: usize,
    pub(super) request_memory: Option<SharedBudget>,
    pub(super) read_timeout: Duration,
    pub(super) max_timeout: Option<Duration>,
    pub(super) compression: Compression,
    pub(super) require_protocol_version: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_message_size: 64 * 1024,
            request_memory: None,
            read_timeout: Duration::from_secs(30),
            max_timeout: None,
            compression: Compression::Never,
            require_protocol_version: false,
        }
    }
}

impl Settings {
    /// Returns the limit of the requests of a method, after decompression.
    pub(super) fn max_request_size(&self, spec: &MethodSpec) -> usize {
        spec.max_request_size().unwrap_or(self.max_message_size)
    }
}
