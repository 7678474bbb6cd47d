//! The files of `interop/recordings`.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

/// The sender of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// A program that queries the daemon.
    Client,
    /// The program that serves clients.
    Daemon,
    /// A secrets provider or an access-control module.
    Plugin,
    /// The program that a plugin serves.
    Runtime,
}

impl Side {
    /// The other end of the same connection.
    pub fn peer(self) -> Self {
        match self {
            Self::Client => Self::Daemon,
            Self::Daemon => Self::Client,
            Self::Plugin => Self::Runtime,
            Self::Runtime => Self::Plugin,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Daemon => "daemon",
            Self::Plugin => "plugin",
            Self::Runtime => "runtime",
        })
    }
}

/// One read or write that the recorder saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The sender.
    pub from: Side,
    /// The bytes; none on an event.
    pub bytes: Vec<u8>,
    /// `eof` or `close`.
    pub event: Option<String>,
}

/// A whole file.
#[derive(Debug, Clone)]
pub struct Recording {
    /// The file's name without its ending.
    pub name: String,
    /// Which program was recorded.
    pub peer: String,
    /// All chunks, in order.
    pub chunks: Vec<Chunk>,
}

/// The file is not a recording.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The file could not be read.
    #[error("the recording {name} could not be read")]
    Io {
        /// The recording.
        name: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A line does not follow the format.
    #[error("line {line} of the recording {name} is malformed: {reason}")]
    Malformed {
        /// The recording.
        name: String,
        /// Counted from 1.
        line: usize,
        /// The fault.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    recording: String,
    peer: String,
    #[serde(rename = "what")]
    _what: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(rename = "t_ms")]
    _t_ms: f64,
    from: Side,
    hex: String,
    #[serde(default)]
    event: Option<String>,
    #[serde(default, rename = "conn")]
    _conn: Option<u64>,
}

impl Recording {
    /// Reads `interop/recordings/NAME.jsonl`.
    ///
    /// # Errors
    ///
    /// Returns [`RecordingError`] if the file cannot be read, or a line does not follow the format.
    pub fn load(name: &str) -> Result<Self, RecordingError> {
        let path = Self::folder().join(format!("{name}.jsonl"));
        let text = std::fs::read_to_string(path).map_err(|source| RecordingError::Io {
            name: name.to_owned(),
            source,
        })?;
        Self::parse(name, &text)
    }

    /// The names of all recordings, sorted.
    ///
    /// # Errors
    ///
    /// Fails if the folder cannot be read.
    pub fn names() -> std::io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(Self::folder())? {
            let file = entry?.file_name();
            if let Some(name) = file.to_str().and_then(|n| n.strip_suffix(".jsonl")) {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn folder() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../recordings"))
    }

    /// Parses the text of a file.
    ///
    /// # Errors
    ///
    /// Returns [`RecordingError::Malformed`] if a line does not follow the format.
    pub fn parse(name: &str, text: &str) -> Result<Self, RecordingError> {
        let malformed = |line: usize, reason: String| RecordingError::Malformed {
            name: name.to_owned(),
            line,
            reason,
        };
        let mut lines = text.lines().enumerate();
        let (_, first) = lines
            .next()
            .ok_or_else(|| malformed(1, "the header is missing".to_owned()))?;
        let header: Header =
            serde_json::from_str(first).map_err(|e| malformed(1, e.to_string()))?;
        let mut chunks = Vec::new();
        for (index, text) in lines {
            let line: Line =
                serde_json::from_str(text).map_err(|e| malformed(index + 1, e.to_string()))?;
            let bytes =
                unhex(&line.hex).ok_or_else(|| malformed(index + 1, "bad hex".to_owned()))?;
            if bytes.is_empty() != line.event.is_some() {
                let reason = "a chunk has either bytes or an event".to_owned();
                return Err(malformed(index + 1, reason));
            }
            chunks.push(Chunk {
                from: line.from,
                bytes,
                event: line.event,
            });
        }
        Ok(Self {
            name: header.recording,
            peer: header.peer,
            chunks,
        })
    }

    /// All bytes of one side, joined.
    pub fn bytes(&self, from: Side) -> Vec<u8> {
        let of_side = self.chunks.iter().filter(|chunk| chunk.from == from);
        of_side
            .flat_map(|chunk| chunk.bytes.iter().copied())
            .collect()
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes()
        .chunks(2)
        .map(|pair| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_line_is_named() {
        let text = "{\"recording\":\"r\",\"peer\":\"p\",\"what\":\"w\"}\n{\"t_ms\":1,\"from\":\"plugin\",\"hex\":\"0g\"}";
        let error = Recording::parse("r", text).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 2 of the recording r is malformed: bad hex"
        );
    }

    #[test]
    fn hex_is_read() {
        assert_eq!(unhex("00ff1a"), Some(vec![0, 255, 26]));
        assert_eq!(unhex("0"), None);
    }
}
