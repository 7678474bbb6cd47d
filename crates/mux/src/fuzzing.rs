//! The entry points of the fuzz targets of the repository.
//!
//! The session core is private, and it stays so: this module exists under `cfg(fuzzing)` alone, which
//! `cargo xtask fuzz` sets for every crate that it builds. A cargo feature would do as well, but a build with
//! all features would get it, and features are part of a crate's public interface.
//!
//! The invariants and their checks are shared with the unit tests (`core/harness`).

use crate::{
    core::harness::{invariant_view::InvariantView, model::Model},
    frame::{Decoder, HEADER_LEN, Item, Kind},
};

pub use crate::core::harness::scripted_step::{Limits, Script, ScriptedStep};

/// Decodes arbitrary bytes in arbitrary chunks: the first byte is the length of the chunks.
///
/// # Panics
///
/// Panics if the decoded frames do not encode to the same bytes, or depend on the chunks.
pub fn frame_decoder(input: &[u8]) {
    let Some((chunk, bytes)) = input.split_first() else {
        return;
    };
    let whole = decode(bytes, bytes.len().max(1));
    let pieces = decode(bytes, usize::from(*chunk).max(1));
    assert_eq!(whole, pieces, "chunks of {chunk} change the meaning");
    let (encoded, is_valid) = whole;
    assert!(bytes.starts_with(&encoded), "frames encode to other bytes");
    if is_valid {
        let rest = bytes.len() - encoded.len();
        assert!(rest < HEADER_LEN, "{rest} bytes were not understood");
    }
}

/// Decodes and encodes again. Returns whether all bytes were valid.
fn decode(bytes: &[u8], chunk: usize) -> (Vec<u8>, bool) {
    let mut decoder = Decoder::default();
    let mut encoded = Vec::new();
    // The rest of the payload of the last header.
    let mut missing = 0;
    for mut input in bytes.chunks(chunk) {
        loop {
            match decoder.next(&mut input) {
                Ok(Some(Item::Header(header))) => {
                    assert_eq!(missing, 0, "a header inside of a payload");
                    encoded.extend(header.encode());
                    if header.kind == Kind::Data {
                        missing = header.length as usize;
                    }
                }
                Ok(Some(Item::Payload { bytes, last })) => {
                    assert!(!bytes.is_empty());
                    encoded.extend(bytes);
                    missing -= bytes.len();
                    assert_eq!(last, missing == 0);
                }
                Ok(None) => break,
                Err(_) => return (encoded, false),
            }
        }
        assert!(input.is_empty(), "the decoder wants more, and has some");
    }
    (encoded, true)
}

/// Plays arbitrary bytes to one session core; see `InvariantView` for what the first bytes mean.
///
/// # Panics
///
/// The core breaks a promise that it makes whatever its peer sends.
pub fn session_bytes(input: &[u8]) {
    InvariantView::play(input);
}

/// Plays a script on a pair of session cores.
///
/// # Panics
///
/// A promise is broken: bytes in order, wake-ups, an end of every stream, nothing left.
pub fn session_pair(script: &Script) {
    Model::play(script);
}
