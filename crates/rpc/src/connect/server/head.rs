//! [`Head`]: bounds the fields that a handler adds to a response.

use http::{HeaderMap, HeaderName, HeaderValue};

/// All fields of a response. Both limits are below those of readers (64 KiB and 100 fields for
/// `keyway-http`), so that a response is never lost by its metadata.
const MAX_FIELDS: usize = 64;
const MAX_BYTES: usize = 16 * 1024;

/// Number of fields that the transport adds: a length or a coding, `connection`, `date`.
const TRANSPORT_FIELDS: usize = 3;
/// The status line and the fields of protocol and transport.
const OVERHEAD: usize = 512;
/// The colon, the space and the line end of a field.
const SEPARATORS: usize = 4;

/// The fields of a response, which may still be added.
pub(super) struct Head<'a> {
    headers: &'a mut HeaderMap,
    fields: usize,
    bytes: usize,
    left_out: usize,
}

impl<'a> Head<'a> {
    /// Returns the head of a successful response, whose headers hold those of the protocol.
    pub(super) fn of_success(headers: &'a mut HeaderMap) -> Self {
        Self::new(headers, MAX_BYTES - OVERHEAD)
    }

    /// Returns the head of an error, whose headers hold those of the protocol, with at most `bytes` of metadata.
    pub(super) fn of_error(headers: &'a mut HeaderMap, bytes: usize) -> Self {
        Self::new(headers, bytes)
    }

    fn new(headers: &'a mut HeaderMap, bytes: usize) -> Self {
        let fields = MAX_FIELDS.saturating_sub(TRANSPORT_FIELDS + headers.len());
        Self {
            headers,
            fields,
            bytes,
            left_out: 0,
        }
    }

    /// Appends a field if it fits.
    pub(super) fn append(&mut self, name: HeaderName, value: HeaderValue) {
        let size = name.as_str().len() + value.len() + SEPARATORS;
        if self.fields == 0 || size > self.bytes {
            self.left_out += 1;
            return;
        }
        self.fields -= 1;
        self.bytes -= size;
        self.headers.append(name, value);
    }

    /// Returns how many fields did not fit.
    pub(super) fn left_out(&self) -> usize {
        self.left_out
    }
}
