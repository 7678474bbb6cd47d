//! The limits of the protocol, each defined once. The daemon, the plugin SDK and its test kit apply them; the limits of ids and
//! patterns are those of [`keyway_secrets::Pattern`].

use std::time::Duration;

/// The longest request that does not write a secret, in bytes.
pub const MAX_REQUEST_LEN: usize = 64 * 1024;
/// The longest request that writes a secret, in bytes.
pub const MAX_WRITE_REQUEST_LEN: usize = 12 * 1024 * 1024;
/// The most patterns of one `Authorize` request.
pub const MAX_AUTHORIZE_PATTERNS: usize = 256;

/// The longest name of a plugin, in bytes.
pub const MAX_NAME_LEN: usize = 256;
/// The longest version of a plugin, in bytes.
pub const MAX_VERSION_LEN: usize = 256;
/// The most patterns of a realm.
pub const MAX_REALM_PATTERNS: usize = 64;
/// The most patterns of one `Changed` request.
pub const MAX_CHANGED_PATTERNS: usize = 64;
/// The most `Changed` requests of one plugin in a second.
pub const MAX_CHANGES_PER_SECOND: u32 = 10;
/// The longest encoded [`PluginDescription`](crate::keyway::v1::PluginDescription), in bytes.
pub const MAX_DESCRIPTION_LEN: usize = 8 * 1024;
/// The longest `description` and the longest `homepage` of a [`PluginDescription`](crate::keyway::v1::PluginDescription), in
/// bytes.
pub const MAX_DESCRIPTION_TEXT_LEN: usize = 256;
/// The number of concurrent calls of a plugin whose description does not give one.
pub const DEFAULT_CONCURRENCY: u32 = 64;
/// The largest number of concurrent calls of a plugin.
pub const MAX_CONCURRENCY: u32 = 1024;

/// The longest response of a plugin, in bytes and decompressed.
pub const MAX_RESPONSE_LEN: usize = 64 * 1024 * 1024;
/// The most envelopes, or listed secrets, of one response.
pub const MAX_ENVELOPES: usize = 65_536;
/// The longest value of a secret, in bytes.
pub const MAX_VALUE_LEN: usize = 8 * 1024 * 1024;
/// The most entries of the metadata of an envelope.
pub const MAX_METADATA_ENTRIES: usize = 64;
/// The most bytes of the metadata of an envelope, as it is sent.
pub const MAX_METADATA_LEN: usize = 16 * 1024;
/// The most bytes of the details and the metadata of an error, names and values together. Details and fields beyond them are left
/// out.
pub const MAX_ERROR_METADATA_LEN: usize = 8 * 1024;
/// The longest message of an error, in bytes. A longer one is cut.
pub const MAX_ERROR_MESSAGE_LEN: usize = 16 * 1024;

/// The longest `retry_after`, to which a longer one is reduced.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// The longest remedy in bytes. A longer one is cut.
pub const MAX_REMEDY_LEN: usize = 256;
/// The most entries of [`Failures`](crate::keyway::v1::Failures).
pub const MAX_FAILURES: usize = 32;
/// The longest encoded [`Failures`](crate::keyway::v1::Failures), in bytes.
pub const MAX_FAILURES_LEN: usize = 4 * 1024;

// The server of `keyway-rpc` applies them.
#[cfg(any(feature = "client", feature = "server"))]
const _: () = assert!(
    MAX_ERROR_METADATA_LEN == keyway_rpc::MAX_ERROR_METADATA_LEN
        && MAX_ERROR_MESSAGE_LEN == keyway_rpc::MAX_ERROR_MESSAGE_LEN
);
