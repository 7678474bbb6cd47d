//! Content codings of a message.

use bytes::Bytes;
use http::HeaderValue;

use crate::memory::Meter;

#[cfg(feature = "gzip")]
mod gzip;

/// A content coding that this build knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    #[cfg(feature = "gzip")]
    Gzip,
}

/// Error of decompressing a message.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "gzip"),
    allow(dead_code, reason = "without gzip nothing is compressed")
)]
pub(crate) enum DecompressError {
    TooLarge,
    Corrupt(std::io::Error),
    /// There is no memory for the message.
    Memory(Box<crate::Error>),
}

/// The rule that decides which outgoing messages are compressed with gzip.
///
/// The default is never: on a local socket compressing costs more than the bytes it saves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Messages are sent as they are.
    #[default]
    Never,
    /// Messages of at least this many bytes are compressed, if the peer accepts that. Below about
    /// 1 KiB gzip makes messages longer rather than shorter.
    #[cfg(feature = "gzip")]
    Gzip {
        /// The smallest message to compress, in bytes. With 0 every message is compressed, the
        /// empty one too.
        min_size: usize,
    },
}

impl Compression {
    /// Returns the coding for a message of `size` bytes.
    pub(crate) fn encoding_for(self, size: usize) -> Encoding {
        #[cfg(not(feature = "gzip"))]
        let _ = size;
        match self {
            Self::Never => Encoding::Identity,
            #[cfg(feature = "gzip")]
            Self::Gzip { min_size } if size >= min_size => Encoding::Gzip,
            #[cfg(feature = "gzip")]
            Self::Gzip { .. } => Encoding::Identity,
        }
    }
}

impl Encoding {
    /// The codings that errors about unknown ones name.
    #[cfg(feature = "gzip")]
    pub(crate) const SUPPORTED: &'static str = "gzip";
    /// The codings that errors about unknown ones name.
    #[cfg(not(feature = "gzip"))]
    pub(crate) const SUPPORTED: &'static str = "identity";

    /// Returns the coding with this name in any case (RFC 9110 section 8.4.1); absent and empty
    /// mean identity.
    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        if name.is_empty() || name.eq_ignore_ascii_case(b"identity") {
            return Some(Self::Identity);
        }
        #[cfg(feature = "gzip")]
        if name.eq_ignore_ascii_case(b"gzip") {
            return Some(Self::Gzip);
        }
        None
    }

    /// Returns the value of `content-encoding`, which is left out for identity.
    pub(crate) fn header(self) -> Option<HeaderValue> {
        match self {
            Self::Identity => None,
            #[cfg(feature = "gzip")]
            Self::Gzip => Some(HeaderValue::from_static("gzip")),
        }
    }

    pub(crate) fn compress(self, message: Bytes, sensitive: bool) -> Bytes {
        #[cfg(not(feature = "gzip"))]
        let _ = sensitive;
        match self {
            Self::Identity => message,
            #[cfg(feature = "gzip")]
            Self::Gzip => gzip::compress(&message, sensitive),
        }
    }

    /// Decompresses a message of at most `limit` bytes, which `meter` counts. An empty body is the
    /// empty message in every coding and is never decompressed.
    pub(crate) async fn decompress(
        self,
        body: Bytes,
        limit: usize,
        sensitive: bool,
        meter: &mut Meter<'_>,
    ) -> Result<Bytes, DecompressError> {
        #[cfg(not(feature = "gzip"))]
        let _ = (limit, sensitive, meter);
        match self {
            Self::Identity => Ok(body),
            #[cfg(feature = "gzip")]
            Self::Gzip if body.is_empty() => Ok(body),
            #[cfg(feature = "gzip")]
            Self::Gzip => gzip::decompress(&body, limit, sensitive, meter).await,
        }
    }

    /// Returns the limit of a body in this coding if the limit of the message is `limit` bytes. A
    /// compressed body can be a little longer than its message: header, trailer, five bytes for each
    /// stored block.
    pub(crate) fn body_limit(self, limit: usize) -> usize {
        match self {
            Self::Identity => limit,
            #[cfg(feature = "gzip")]
            Self::Gzip => limit.saturating_add(limit / 1024).saturating_add(1024),
        }
    }
}

#[cfg(feature = "gzip")]
impl From<std::io::Error> for DecompressError {
    fn from(error: std::io::Error) -> Self {
        Self::Corrupt(error)
    }
}

#[cfg(all(test, feature = "gzip"))]
mod tests {
    use super::*;

    async fn decompress(body: Bytes, limit: usize) -> Result<Bytes, DecompressError> {
        let mut meter = Meter::default();
        Encoding::Gzip
            .decompress(body, limit, true, &mut meter)
            .await
    }

    #[test]
    fn names_of_codings_have_no_case() {
        for name in ["gzip", "GZIP", "Gzip"] {
            assert_eq!(Encoding::from_name(name.as_bytes()), Some(Encoding::Gzip));
        }
        assert_eq!(Encoding::from_name(b"Identity"), Some(Encoding::Identity));
        assert_eq!(Encoding::from_name(b"x-gzip"), None);
    }

    #[tokio::test]
    async fn messages_round_trip_up_to_the_limit() {
        for size in [0, 1, 8 * 1024, 100_000] {
            let message = Bytes::from(vec![7_u8; size]);
            let packed = Encoding::Gzip.compress(message.clone(), true);
            let unpacked = decompress(packed.clone(), size).await;
            assert_eq!(unpacked.expect("within the limit"), message);
            if size > 0 {
                let over = decompress(packed, size - 1).await;
                assert!(matches!(over, Err(DecompressError::TooLarge)));
            }
        }
    }

    #[test]
    fn incompressible_messages_stay_within_the_body_limit() {
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(300_000)
        .collect();
        let limit = noise.len();
        let packed = Encoding::Gzip.compress(Bytes::from(noise), false);
        assert!(
            packed.len() <= Encoding::Gzip.body_limit(limit),
            "{}",
            packed.len()
        );
    }

    #[tokio::test]
    async fn damaged_data_is_reported() {
        let packed = Encoding::Gzip.compress(Bytes::from_static(b"hello, hello, hello"), false);
        for broken in [
            packed.slice(..packed.len() - 1),
            packed.slice(1..),
            Bytes::from_static(b"x"),
        ] {
            let read = decompress(broken, 1024).await;
            assert!(matches!(read, Err(DecompressError::Corrupt(_))), "{read:?}");
        }
    }

    #[tokio::test]
    async fn members_and_optional_fields_of_the_header_are_read() {
        use std::io::Write as _;
        let mut foreign = flate2::GzBuilder::new()
            .filename("name")
            .comment("comment")
            .extra(vec![1, 2, 3])
            .mtime(7)
            .write(Vec::new(), flate2::Compression::best());
        foreign.write_all(b"first ").expect("a vector");
        let mut body = foreign.finish().expect("a vector");
        body.extend(Encoding::Gzip.compress(Bytes::from_static(b"second"), false));
        let read = decompress(Bytes::from(body.clone()), 1024).await;
        assert_eq!(read.expect("two members"), "first second");
        body.push(0);
        let read = decompress(Bytes::from(body), 1024).await;
        assert!(matches!(read, Err(DecompressError::Corrupt(_))), "{read:?}");
    }

    #[tokio::test]
    async fn other_programs_read_compressed_messages() {
        use std::io::Read as _;
        for len in [0, 1, 100_000] {
            let message = vec![7; len];
            let packed = Encoding::Gzip.compress(Bytes::from(message.clone()), false);
            let mut read = Vec::new();
            let mut decoder = flate2::read::GzDecoder::new(&packed[..]);
            decoder.read_to_end(&mut read).expect("gzip");
            assert_eq!(read, message);
        }
    }

    #[tokio::test]
    async fn a_wrong_checksum_or_length_is_reported() {
        let packed = Encoding::Gzip.compress(Bytes::from_static(b"hello"), false);
        for at in [8, 4] {
            let mut broken = packed.to_vec();
            let at = broken.len() - at;
            broken[at] ^= 1;
            let read = decompress(broken.into(), 1024).await;
            assert!(matches!(read, Err(DecompressError::Corrupt(_))), "{read:?}");
        }
    }

    #[tokio::test]
    async fn the_empty_body_is_the_empty_message() {
        let read = decompress(Bytes::new(), 0).await;
        assert_eq!(read.expect("never decompressed"), "");
    }
}
