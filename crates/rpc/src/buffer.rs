//! Buffers of whole messages: collected under a limit, and zeroed where they carried values.

use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;

use bytes::{Buf, Bytes};
use http_body::Body;
use zeroize::Zeroize;

use crate::BoxError;
use crate::memory::Meter;

/// The most that is allocated for a body before it arrives, whatever length it declares.
const MAX_RESERVATION: usize = 64 * 1024;

/// Turns an owned message into shared bytes. A sensitive one is zeroed when its last reference is
/// dropped.
pub(crate) fn freeze(buffer: Vec<u8>, sensitive: bool) -> Bytes {
    if sensitive && !buffer.is_empty() {
        Bytes::from_owner(Zeroized(buffer))
    } else {
        Bytes::from(buffer)
    }
}

/// Zeroes a buffer, all of its capacity, and leaves it empty.
fn zero(buffer: &mut Vec<u8>) {
    // The elements of a `Vec` are zeroed one by one, its spare capacity at once.
    buffer.clear();
    buffer.zeroize();
}

/// A buffer that is zeroed when it is dropped.
#[derive(Default)]
pub(crate) struct Zeroized(pub(crate) Vec<u8>);

impl Drop for Zeroized {
    fn drop(&mut self) {
        zero(&mut self.0);
    }
}

impl Deref for Zeroized {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Zeroized {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl AsRef<[u8]> for Zeroized {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A growing buffer that leaves no copy behind when it moves.
pub(crate) struct Accumulator {
    buffer: Vec<u8>,
    sensitive: bool,
}

impl Accumulator {
    pub(crate) fn new(capacity: usize, sensitive: bool) -> Self {
        Self {
            buffer: Vec::with_capacity(capacity),
            sensitive,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.buffer.len()
    }

    pub(crate) fn extend(&mut self, chunk: &[u8]) {
        let needed = self.buffer.len() + chunk.len();
        if needed > self.buffer.capacity() {
            self.grow(needed);
        }
        self.buffer.extend_from_slice(chunk);
    }

    fn grow(&mut self, needed: usize) {
        if !self.sensitive {
            return self.buffer.reserve(needed - self.buffer.len());
        }
        let mut larger = Vec::with_capacity(needed.max(2 * self.buffer.capacity()));
        larger.extend_from_slice(&self.buffer);
        zero(&mut self.buffer);
        self.buffer = larger;
    }

    pub(crate) fn freeze(mut self) -> Bytes {
        freeze(std::mem::take(&mut self.buffer), self.sensitive)
    }

    /// Returns the buffer, which is not zeroed any more.
    #[cfg(feature = "json")]
    pub(crate) fn into_vec(mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }
}

#[cfg(feature = "json")]
impl std::io::Write for Accumulator {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Accumulator {
    fn drop(&mut self) {
        if self.sensitive {
            zero(&mut self.buffer);
        }
    }
}

/// Error of collecting a body.
#[derive(Debug)]
pub(crate) enum CollectError {
    /// It holds more than the limit; `size` is the known part of its length.
    TooLarge {
        size: u64,
    },
    /// It ended without an error before its declared length.
    CutShort,
    Body(BoxError),
    /// There is no memory for it.
    Memory(Box<crate::Error>),
}

impl From<crate::Error> for CollectError {
    fn from(error: crate::Error) -> Self {
        Self::Memory(Box::new(error))
    }
}

/// Reads a whole body of at most `limit` bytes, which are counted by `meter`. A body of one chunk is
/// not copied.
///
/// The body is borrowed so that the caller can drain the rest of one that is too large.
pub(crate) async fn collect<B>(
    mut body: Pin<&mut B>,
    limit: usize,
    sensitive: bool,
    meter: &mut Meter<'_>,
) -> Result<Bytes, CollectError>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let declared = body.size_hint().lower();
    if declared > limit as u64 {
        return Err(CollectError::TooLarge { size: declared });
    }
    meter.reserve_message(declared).await?;
    let Some(mut first) = next_data(body.as_mut()).await? else {
        return complete(0, declared).map(|()| Bytes::new());
    };
    check(first.remaining(), limit)?;
    meter.reach(first.remaining() as u64).await?;
    if body.is_end_stream() {
        complete(first.remaining(), declared)?;
        return Ok(first.copy_to_bytes(first.remaining()));
    }
    let capacity = first
        .remaining()
        .max((declared as usize).min(MAX_RESERVATION));
    let mut whole = Accumulator::new(capacity, sensitive);
    append(&mut whole, first);
    while let Some(chunk) = next_data(body.as_mut()).await? {
        let reached = whole.len().saturating_add(chunk.remaining());
        check(reached, limit)?;
        meter.reach(reached as u64).await?;
        append(&mut whole, chunk);
    }
    complete(whole.len(), declared)?;
    Ok(whole.freeze())
}

/// The beginning of a protobuf message is often a message as well, so a body that is shorter than
/// declared must never be read as one.
fn complete(size: usize, declared: u64) -> Result<(), CollectError> {
    match size as u64 >= declared {
        true => Ok(()),
        false => Err(CollectError::CutShort),
    }
}

fn check(size: usize, limit: usize) -> Result<(), CollectError> {
    if size > limit {
        return Err(CollectError::TooLarge { size: size as u64 });
    }
    Ok(())
}

fn append(whole: &mut Accumulator, mut chunk: impl Buf) {
    while chunk.has_remaining() {
        let part = chunk.chunk();
        whole.extend(part);
        let length = part.len();
        chunk.advance(length);
    }
}

/// Returns the next chunk with bytes in it; `None` at the end. Trailers are skipped: unary Connect has
/// none.
async fn next_data<B>(mut body: Pin<&mut B>) -> Result<Option<B::Data>, CollectError>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    loop {
        match poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            None => return Ok(None),
            Some(Err(error)) => return Err(CollectError::Body(error.into())),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.has_remaining() => return Ok(Some(data)),
                Ok(_) | Err(_) => {}
            },
        }
    }
}

/// Returns `true` if anything comes before the end of a body.
#[cfg(feature = "server")]
pub(crate) async fn has_data<B>(body: Pin<&mut B>) -> bool
where
    B: Body,
    B::Error: Into<BoxError>,
{
    !body.is_end_stream() && !matches!(next_data(body).await, Ok(None))
}

/// Reads and discards the rest of a body, at most `limit` bytes of it.
///
/// A response to an HTTP/1.1 peer that still writes may be lost in a broken pipe, so a refused request is
/// read first, within bounds.
#[cfg(feature = "server")]
pub(crate) async fn drain<B>(mut body: Pin<&mut B>, limit: usize)
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let mut seen = 0_usize;
    while seen <= limit && !body.is_end_stream() {
        match next_data(body.as_mut()).await {
            Ok(Some(data)) => seen = seen.saturating_add(data.remaining()),
            // Nothing more comes after the end or an error.
            Ok(None) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use keyway_test_support::body::Chunks;

    use super::*;

    async fn read(chunks: &[&'static [u8]], limit: usize) -> Result<Bytes, CollectError> {
        let body = pin!(Chunks::new(chunks.iter().copied()));
        collect(body, limit, true, &mut Meter::default()).await
    }

    #[tokio::test]
    async fn the_limit_itself_is_allowed() {
        assert_eq!(
            read(&[b"ab", b"", b"cd"], 4)
                .await
                .expect("within the limit"),
            "abcd"
        );
        let over = read(&[b"ab", b"cde"], 4).await;
        assert!(
            matches!(over, Err(CollectError::TooLarge { size: 5 })),
            "{over:?}"
        );
        assert_eq!(read(&[], 0).await.expect("empty"), "");
    }

    #[tokio::test]
    async fn a_body_shorter_than_announced_is_cut_short() {
        for chunks in [vec![], vec![b"abc".as_slice()], vec![b"a", b"bc"]] {
            let body = pin!(Chunks::new(chunks).declaring(4));
            let read = collect(body, 9, false, &mut Meter::default()).await;
            assert!(matches!(read, Err(CollectError::CutShort)), "{read:?}");
        }
    }

    #[test]
    fn growing_keeps_the_bytes() {
        let mut accumulator = Accumulator::new(0, true);
        for byte in 0..=255_u8 {
            accumulator.extend(&[byte]);
        }
        assert_eq!(accumulator.freeze(), (0..=255).collect::<Vec<u8>>());
    }
}
