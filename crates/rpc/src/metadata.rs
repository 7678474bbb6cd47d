//! Metadata: headers of the application, as opposed to those of the protocol.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, STANDARD_PAD_INDIFFERENT};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue, InvalidHeaderName};

/// The prefix of headers that carry trailing metadata.
pub(crate) const TRAILER_PREFIX: &str = "trailer-";

/// Reads and writes binary metadata, whose names end in `-bin`.
///
/// On the wire a binary value is base64. It is written without padding, and read with or without;
/// several values may share one line, separated by commas.
pub trait BinaryMetadata {
    /// Appends a binary value under `name`, which must end in `-bin`.
    ///
    /// # Errors
    ///
    /// Returns [`BinaryMetadataError`] if `name` is not a valid name, or does not end in `-bin`.
    fn append_binary(&mut self, name: &str, value: &[u8]) -> Result<(), BinaryMetadataError>;

    /// Returns all binary values under `name`, in order.
    ///
    /// # Errors
    ///
    /// Returns [`BinaryMetadataError::Value`] if one of the values is not base64.
    fn get_binary(&self, name: &str) -> Result<Vec<Bytes>, BinaryMetadataError>;
}

/// Binary metadata that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BinaryMetadataError {
    /// The name does not end in `-bin`.
    #[error("binary metadata must have a name that ends in `-bin`, `{name}` does not")]
    Name {
        /// The name that was given.
        name: String,
    },
    /// The name cannot be the name of a header.
    #[error("`{name}` cannot be the name of a header")]
    InvalidName {
        /// The name that was given.
        name: String,
        /// The error of `http`.
        source: InvalidHeaderName,
    },
    /// A value is not base64.
    #[error("a value of the binary metadata `{name}` is not base64")]
    Value {
        /// The name of the metadata.
        name: String,
    },
}

impl BinaryMetadata for HeaderMap {
    fn append_binary(&mut self, name: &str, value: &[u8]) -> Result<(), BinaryMetadataError> {
        if !name.to_ascii_lowercase().ends_with("-bin") {
            return Err(BinaryMetadataError::Name {
                name: name.to_owned(),
            });
        }
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|source| {
            BinaryMetadataError::InvalidName {
                name: name.to_owned(),
                source,
            }
        })?;
        let value = HeaderValue::try_from(STANDARD_NO_PAD.encode(value))
            .expect("base64 holds only characters that a header may hold");
        self.append(header, value);
        Ok(())
    }

    fn get_binary(&self, name: &str) -> Result<Vec<Bytes>, BinaryMetadataError> {
        let lines = self.get_all(name).iter();
        let values = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        values
            .map(
                |value| match STANDARD_PAD_INDIFFERENT.decode(value.trim_ascii()) {
                    Ok(bytes) => Ok(Bytes::from(bytes)),
                    Err(_) => Err(BinaryMetadataError::Value {
                        name: name.to_owned(),
                    }),
                },
            )
            .collect()
    }
}

/// Formats the names in a header map and hides the values, which may be credentials.
pub(crate) struct Names<'a>(pub(crate) &'a HeaderMap);

impl fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.0.keys().map(HeaderName::as_str))
            .finish()
    }
}

/// Returns `true` if the name belongs to HTTP or to the protocol, so that an application cannot set
/// it without breaking the message around it.
pub(crate) fn is_reserved(name: &HeaderName) -> bool {
    const RESERVED: [HeaderName; 12] = [
        header::ACCEPT_ENCODING,
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::DATE,
        header::HOST,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
    ];
    RESERVED.contains(name) || name.as_str().starts_with("connect-")
}

/// Calls `append` with every field that is not [reserved](is_reserved).
#[cfg(feature = "server")]
pub(crate) fn each_application(
    headers: &HeaderMap,
    mut append: impl FnMut(HeaderName, HeaderValue),
) {
    for (name, value) in headers {
        if !is_reserved(name) {
            append(name.clone(), value.clone());
        }
    }
}

/// Calls `append` with every field of trailing metadata that is not [reserved](is_reserved), each
/// name with [`TRAILER_PREFIX`] before it.
#[cfg(feature = "server")]
pub(crate) fn each_trailer(trailers: &HeaderMap, mut append: impl FnMut(HeaderName, HeaderValue)) {
    each_application(trailers, |name, value| {
        let prefixed = format!("{TRAILER_PREFIX}{name}");
        let prefixed =
            HeaderName::try_from(prefixed).expect("a valid name stays valid behind a valid prefix");
        append(prefixed, value);
    });
}

/// Moves the trailing metadata out of the headers of a response.
#[cfg(feature = "client")]
pub(crate) fn split_trailers(headers: &mut HeaderMap) -> HeaderMap {
    let is_trailer = |name: &HeaderName| name.as_str().starts_with(TRAILER_PREFIX);
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_trailer(name))
        .cloned()
        .collect();
    let mut trailers = HeaderMap::new();
    for name in names {
        let stripped = HeaderName::try_from(&name.as_str()[TRAILER_PREFIX.len()..]);
        // A bare `trailer-` names nothing and stays where it is.
        let Ok(stripped) = stripped else { continue };
        let header::Entry::Occupied(entry) = headers.entry(&name) else {
            continue;
        };
        let (_, values) = entry.remove_entry_mult();
        for value in values {
            trailers.append(stripped.clone(), value);
        }
    }
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_values_are_written_unpadded_and_read_in_every_form() {
        let mut map = HeaderMap::new();
        map.append_binary("key-bin", &[1]).expect("a valid name");
        assert_eq!(map["key-bin"], "AQ");
        map.append("key-bin", HeaderValue::from_static("AQ==, AgM"));
        map.append_binary("Key-Bin", &[4]).expect("in any case");
        let values = map.get_binary("key-bin").expect("all are base64");
        assert_eq!(values, [vec![1], vec![1], vec![2, 3], vec![4]]);
    }

    #[test]
    fn binary_names_and_values_are_checked() {
        let mut map = HeaderMap::new();
        assert!(matches!(
            map.append_binary("key", &[]),
            Err(BinaryMetadataError::Name { .. })
        ));
        assert!(matches!(
            map.append_binary("k y-bin", &[]),
            Err(BinaryMetadataError::InvalidName { .. })
        ));
        map.append("key-bin", HeaderValue::from_static("!"));
        assert!(matches!(
            map.get_binary("key-bin"),
            Err(BinaryMetadataError::Value { .. })
        ));
    }

    #[cfg(all(feature = "client", feature = "server"))]
    #[test]
    fn trailers_travel_under_a_prefix_and_keep_their_order() {
        let mut trailers = HeaderMap::new();
        trailers.append("x-a", HeaderValue::from_static("1"));
        trailers.append("x-a", HeaderValue::from_static("2"));
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("0"));
        each_trailer(&trailers, |name, value| {
            headers.append(name, value);
        });
        assert_eq!(headers.get_all("trailer-x-a").iter().count(), 2);
        assert_eq!(split_trailers(&mut headers), trailers);
        assert_eq!(headers.len(), 1);
    }

    #[cfg(feature = "server")]
    #[test]
    fn reserved_names_are_skipped() {
        let mut from = HeaderMap::new();
        for name in ["content-type", "connect-timeout-ms", "x-mine"] {
            from.append(name, HeaderValue::from_static("v"));
        }
        let mut copied = Vec::new();
        each_application(&from, |name, _| copied.push(name));
        assert_eq!(copied, ["x-mine"]);
    }
}
