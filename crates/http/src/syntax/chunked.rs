//! The chunked transfer coding (RFC 9112, section 7.1).

use super::SyntaxError;

/// The longest line of a size or a trailer field. Sizes have at most 16 digits, and extensions are ignored.
const MAX_LINE: usize = 4 * 1024;

/// The most lines that may follow the last chunk.
const MAX_TRAILERS: usize = 100;

/// The position of the decoder.
///
/// ```text
/// Size --size--> Data --all read--> DataEnd --CRLF--> Size
///   \--size 0--> Trailers --empty line--> Done
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunked {
    Size,
    Data { remaining: u64 },
    DataEnd,
    Trailers { lines: usize },
    Done,
}

/// The next part of a body in chunks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// This many bytes of data are next.
    Data(usize),
    /// More bytes are needed.
    Incomplete,
    /// The body has ended.
    End,
}

impl Chunked {
    /// Decodes as far as the unread bytes allow. Returns how many bytes of framing precede the part; the caller takes the
    /// data behind them, all of it, before the next call.
    pub(crate) fn decode(&mut self, unread: &[u8]) -> Result<(usize, Part), SyntaxError> {
        let mut framing = 0;
        loop {
            let rest = &unread[framing..];
            match *self {
                Self::Done => return Ok((framing, Part::End)),
                Self::Data { remaining: 0 } => *self = Self::DataEnd,
                Self::Data { remaining } => {
                    let data =
                        usize::try_from(remaining).map_or(rest.len(), |most| most.min(rest.len()));
                    if data == 0 {
                        return Ok((framing, Part::Incomplete));
                    }
                    *self = Self::Data {
                        remaining: remaining - data as u64,
                    };
                    return Ok((framing, Part::Data(data)));
                }
                // Refused before its line has an end, which may not come.
                Self::DataEnd if !b"\r\n".starts_with(&rest[..rest.len().min(2)]) => {
                    return Err(SyntaxError::Malformed("a chunk is longer than its size"));
                }
                Self::Size | Self::DataEnd | Self::Trailers { .. } => {
                    let Some(line) = line(rest)? else {
                        return Ok((framing, Part::Incomplete));
                    };
                    *self = self.after_line(&rest[..line])?;
                    framing += line;
                }
            }
        }
    }

    /// Returns the state after a line, which ends in CRLF.
    fn after_line(self, line: &[u8]) -> Result<Self, SyntaxError> {
        let line = &line[..line.len() - 2];
        match self {
            Self::Size => match size(line)? {
                0 => Ok(Self::Trailers { lines: 0 }),
                remaining => Ok(Self::Data { remaining }),
            },
            Self::DataEnd => Ok(Self::Size),
            Self::Trailers { .. } if line.is_empty() => Ok(Self::Done),
            Self::Trailers { lines } if lines < MAX_TRAILERS => {
                Ok(Self::Trailers { lines: lines + 1 })
            }
            Self::Trailers { .. } => Err(SyntaxError::Malformed("too many trailers")),
            Self::Data { .. } | Self::Done => Ok(self),
        }
    }
}

/// Returns the length of the next line with its CRLF, if it is all there.
fn line(unread: &[u8]) -> Result<Option<usize>, SyntaxError> {
    let end = unread.iter().take(MAX_LINE).position(|byte| *byte == b'\n');
    match end {
        Some(end)
            if unread[..end].iter().position(|byte| *byte == b'\r') == end.checked_sub(1)
                && end > 0 =>
        {
            Ok(Some(end + 1))
        }
        Some(_) => Err(SyntaxError::Malformed("a line does not end in CRLF")),
        None if unread.len() >= MAX_LINE => Err(SyntaxError::Malformed("a line is too long")),
        None => Ok(None),
    }
}

/// Returns the size before a chunk: hexadecimal digits, then perhaps an extension.
fn size(line: &[u8]) -> Result<u64, SyntaxError> {
    let wrong = || SyntaxError::Malformed("the size of a chunk is invalid");
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
