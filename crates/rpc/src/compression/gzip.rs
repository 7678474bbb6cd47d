//! gzip over the raw coders of `flate2`, because those of its readers and writers cannot be zeroed.

use std::hint::black_box;
use std::io::{self, BufRead as _, Read as _};

use bytes::Bytes;
use flate2::bufread::GzDecoder;
use flate2::{Compress, Crc, Decompress, FlushCompress, FlushDecompress, Status};

use super::DecompressError;
use crate::buffer::{Accumulator, Zeroized, freeze};
use crate::memory::Meter;

const CHUNK: usize = 8 * 1024;

/// A header without optional fields: gzip, deflate, no time, fastest, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 0xff];

/// The checksum and the length at the end of a member.
const TRAILER_LEN: usize = 8;

/// A compressor whose window is zeroed when it is dropped.
struct Deflate(Compress);

impl Drop for Deflate {
    fn drop(&mut self) {
        self.0.reset();
        // Otherwise the compiler could leave out writes to memory that is freed.
        black_box(&mut self.0);
    }
}

/// A decompressor whose window is zeroed when it is dropped.
struct Inflate(Decompress);

impl Drop for Inflate {
    fn drop(&mut self) {
        self.0.reset(false);
        black_box(&mut self.0);
    }
}

pub(super) fn compress(message: &[u8], sensitive: bool) -> Bytes {
    // The capacity of the worst case, so that the buffer never moves and leaves a copy behind.
    let worst = message.len() + message.len() / 1024 + 64;
    let mut packed = Vec::with_capacity(worst);
    packed.extend(HEADER);
    let mut deflate = Deflate(Compress::new(flate2::Compression::fast(), false));
    let status = deflate
        .0
        .compress_vec(message, &mut packed, FlushCompress::Finish);
    let is_complete = matches!(status, Ok(Status::StreamEnd));
    assert!(is_complete, "the worst case fits into the buffer");
    let mut checksum = Crc::new();
    checksum.update(message);
    packed.extend(trailer(&checksum));
    freeze(packed, sensitive)
}

fn trailer(checksum: &Crc) -> [u8; TRAILER_LEN] {
    let trailer = u64::from(checksum.amount()) << 32 | u64::from(checksum.sum());
    trailer.to_le_bytes()
}

pub(super) async fn decompress(
    body: &[u8],
    limit: usize,
    sensitive: bool,
    meter: &mut Meter<'_>,
) -> Result<Bytes, DecompressError> {
    let mut message = Accumulator::new(body.len().min(limit), sensitive);
    let mut chunk = Zeroized(vec![0; CHUNK]);
    let mut rest = body;
    // A body is one or more members.
    while !rest.is_empty() {
        let mut member = Member::new(rest)?;
        loop {
            let n_read = member.read(&mut chunk)?;
            if n_read == 0 {
                break;
            }
            if message.len() + n_read > limit {
                return Err(DecompressError::TooLarge);
            }
            // While it is decompressed, a message is in memory in both forms.
            let reached = body.len() + message.len() + n_read;
            let reserved = meter.reach(reached as u64).await;
            reserved.map_err(|error| DecompressError::Memory(Box::new(error)))?;
            message.extend(&chunk[..n_read]);
        }
        rest = member.rest;
    }
    Ok(message.freeze())
}

/// The member of a gzip stream that is being decompressed.
struct Member<'a> {
    rest: &'a [u8],
    inflate: Inflate,
    checksum: Crc,
    has_ended: bool,
}

impl<'a> Member<'a> {
    /// Reads the header.
    fn new(bytes: &'a [u8]) -> io::Result<Self> {
        let mut header = GzDecoder::new(bytes);
        if header.header().is_none() {
            // A fault of the header is reported by a read.
            let error = header.read(&mut [0]).err();
            return Err(error.unwrap_or_else(|| corrupt("no gzip header")));
        }
        Ok(Self {
            rest: header.into_inner(),
            inflate: Inflate(Decompress::new(false)),
            checksum: Crc::new(),
            has_ended: false,
        })
    }

    /// Decompresses into `chunk`, and returns how many bytes; 0 after the end, whose checksum is right.
    fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        let mut n_read = 0;
        while n_read == 0 && !self.has_ended {
            let inflate = &mut self.inflate.0;
            let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
            let status = inflate.decompress(self.rest, chunk, FlushDecompress::None)?;
            let n_consumed = (inflate.total_in() - before_in) as usize;
            n_read = (inflate.total_out() - before_out) as usize;
            self.rest.consume(n_consumed);
            self.checksum.update(&chunk[..n_read]);
            if status == Status::StreamEnd {
                self.end()?;
            } else if n_consumed + n_read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(n_read)
    }

    fn end(&mut self) -> io::Result<()> {
        let Some((trailer_read, rest)) = self.rest.split_first_chunk::<TRAILER_LEN>() else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        if *trailer_read != trailer(&self.checksum) {
            return Err(corrupt(
                "corrupt gzip stream does not have a matching checksum",
            ));
        }
        self.rest = rest;
        self.has_ended = true;
        Ok(())
    }
}

fn corrupt(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
