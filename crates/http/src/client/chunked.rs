//! The chunked transfer coding, read (RFC 9112, section 7.1).

use super::error::ExchangeError;
use crate::wire::Reader;

/// The longest line of a size or a trailer field; sizes have at most 16 digits, and extensions are
/// of no use to anybody.
const MAX_LINE: usize = 4 * 1024;

/// The most lines that may follow the last chunk.
const MAX_TRAILERS: usize = 100;

/// Where the decoder is.
///
/// ```text
/// Size --size--> Data --all read--> DataEnd --CRLF--> Size
///   \--size 0--> Trailers --empty line--> Done
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunked {
    Size,
    Data { remaining: u64 },
    DataEnd,
    Trailers { lines: usize },
    Done,
}

/// What can be done with the bytes that are there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// This many unread bytes are data.
    Data(usize),
    NeedsMore,
    Done,
}

impl Chunked {
    /// Moves on as far as the unread bytes allow. Data stays unread; the caller takes it, and all
    /// of it, before it asks again.
    pub(super) fn advance(&mut self, reader: &mut Reader) -> Result<Step, ExchangeError> {
        loop {
            match *self {
                Self::Done => return Ok(Step::Done),
                Self::Data { remaining: 0 } => *self = Self::DataEnd,
                Self::Data { remaining } => {
                    let there = reader.unread().len();
                    let data = usize::try_from(remaining).map_or(there, |most| most.min(there));
                    if data == 0 {
                        return Ok(Step::NeedsMore);
                    }
                    *self = Self::Data {
                        remaining: remaining - data as u64,
                    };
                    return Ok(Step::Data(data));
                }
                Self::Size | Self::DataEnd | Self::Trailers { .. } => {
                    let Some(line) = line(reader)? else {
                        return Ok(Step::NeedsMore);
                    };
                    *self = self.after_line(&reader.unread()[..line])?;
                    reader.consume(line);
                }
            }
        }
    }

    /// The state after a line, which ends in CRLF.
    fn after_line(self, line: &[u8]) -> Result<Self, ExchangeError> {
        let line = &line[..line.len() - 2];
        match self {
            Self::Size => match size(line)? {
                0 => Ok(Self::Trailers { lines: 0 }),
                remaining => Ok(Self::Data { remaining }),
            },
            Self::DataEnd if line.is_empty() => Ok(Self::Size),
            Self::DataEnd => Err(ExchangeError::malformed("a chunk is longer than it said")),
            Self::Trailers { .. } if line.is_empty() => Ok(Self::Done),
            Self::Trailers { lines } if lines < MAX_TRAILERS => {
                Ok(Self::Trailers { lines: lines + 1 })
            }
            Self::Trailers { .. } => Err(ExchangeError::malformed("it has too many trailers")),
            Self::Data { .. } | Self::Done => Ok(self),
        }
    }
}

/// The length of the next line with its CRLF, if it is all there.
fn line(reader: &Reader) -> Result<Option<usize>, ExchangeError> {
    let unread = reader.unread();
    let end = unread.iter().take(MAX_LINE).position(|byte| *byte == b'\n');
    match end {
        Some(end) if end > 0 && unread[end - 1] == b'\r' => Ok(Some(end + 1)),
        Some(_) => Err(ExchangeError::malformed("a line does not end in CRLF")),
        None if unread.len() >= MAX_LINE => Err(ExchangeError::malformed("a line is too long")),
        None => Ok(None),
    }
}

/// The size before a chunk: hexadecimal digits, then perhaps an extension.
fn size(line: &[u8]) -> Result<u64, ExchangeError> {
    let wrong = || ExchangeError::malformed("the size of a chunk is wrong");
    let digits = line
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii_end();
    if digits.is_empty() || digits.len() > 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(wrong());
    }
    let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
    u64::from_str_radix(digits, 16).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_hexadecimal_digits_and_nothing_else() {
        assert_eq!(size(b"0").expect("a size"), 0);
        assert_eq!(size(b"fF;name=value").expect("a size"), 255);
        assert_eq!(size(b"ffffffffffffffff ").expect("a size"), u64::MAX);
        for line in ["", ";x", "+1", "-1", "0x1", " 1", "g", "10000000000000000"] {
            assert!(size(line.as_bytes()).is_err(), "{line:?}");
        }
    }
}
