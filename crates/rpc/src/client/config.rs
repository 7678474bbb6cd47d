//! [`Config`]: the settings of a client.

use std::time::Duration;

use http::Uri;

use crate::{Codec, Compression};

/// The settings of a client; a [`Request`](crate::Request) may replace some of them for one call.
///
/// ```
/// use std::time::Duration;
/// use keyway_rpc::client::Config;
///
/// let config = Config::default()
///     .origin("http://127.0.0.1:8080".parse()?)
///     .timeout(Duration::from_secs(10));
/// # Ok::<(), http::uri::InvalidUri>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(super) origin: Uri,
    pub(super) codec: Codec,
    pub(super) timeout: Option<Duration>,
    pub(super) max_message_size: usize,
    pub(super) compression: Compression,
    pub(super) accept_compression: bool,
    pub(super) get: bool,
    pub(super) max_get_url: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            origin: Uri::from_static("http://localhost"),
            codec: Codec::Proto,
            timeout: None,
            max_message_size: 16 * 1024 * 1024,
            compression: Compression::Never,
            accept_compression: false,
            get: false,
            max_get_url: 8 * 1024,
        }
    }
}

impl Config {
    /// Sets scheme and authority of the requests, and the prefix of their paths. Default:
    /// `http://localhost`, for transports with one destination.
    #[must_use]
    pub fn origin(mut self, origin: Uri) -> Self {
        self.origin = origin;
        self
    }

    /// Sets the codec of requests and responses. Default: [`Codec::Proto`].
    #[must_use]
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Limits every call whose request has no deadline. Default: no limit.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Refuses responses of more than `bytes` bytes after decompression. Default: 16 MiB.
    #[must_use]
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.max_message_size = bytes;
        self
    }

    /// Compresses requests. Default: never, because not every server accepts it.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Accepts compressed responses. Default: `false`; on a local socket it costs more than it saves,
    /// and Go servers compress messages of any size. Without the feature `gzip` this does nothing.
    /// With it, a response that is compressed although the request did not accept that is read as well.
    #[must_use]
    pub fn accept_compression(mut self, accept: bool) -> Self {
        self.accept_compression = accept;
        self
    }

    /// Uses GET for methods that declare `NO_SIDE_EFFECTS`, so that caches can respond. Default:
    /// `false`.
    #[must_use]
    pub fn get(mut self, get: bool) -> Self {
        self.get = get;
        self
    }

    /// Uses POST if the URL of a GET would be longer than `bytes`. Default: 8 KiB, which servers and
    /// proxies accept.
    #[must_use]
    pub fn max_get_url(mut self, bytes: usize) -> Self {
        self.max_get_url = bytes;
        self
    }
}
