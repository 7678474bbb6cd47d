//! The bytes that streams carry: every position of every stream and direction has its own, so
//! that a lost, doubled or misplaced byte is located.

use std::sync::LazyLock;

use crate::script::End;

/// A prime, so that no round number of bytes repeats the content.
const LENGTH: usize = 65_521;

/// The program of the Go end generates the same bytes.
static TABLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(LENGTH).collect()
});

/// The bytes of a stream in one direction from a position on, piece by piece and without end.
fn pieces(stream: u32, sender: End, position: u64) -> impl Iterator<Item = &'static [u8]> {
    let start = u64::from(stream) * 7919
        + match sender {
            End::Client => 31_337,
            End::Server => 0,
        };
    let first = ((start + position) % LENGTH as u64) as usize;
    std::iter::once(&TABLE[first..]).chain(std::iter::repeat_with(|| &TABLE[..]))
}

/// Fills a buffer with the bytes that `sender` sends on a stream from a position on.
pub fn fill(buffer: &mut [u8], stream: u32, sender: End, position: u64) {
    let mut rest = buffer;
    for piece in pieces(stream, sender, position) {
        let count = piece.len().min(rest.len());
        let (now, later) = rest.split_at_mut(count);
        now.copy_from_slice(&piece[..count]);
        if later.is_empty() {
            return;
        }
        rest = later;
    }
}

/// Returns `true` if bytes are those that `sender` sends on a stream from a position on.
pub fn is_right(bytes: &[u8], stream: u32, sender: End, position: u64) -> bool {
    let mut rest = bytes;
    for piece in pieces(stream, sender, position) {
        let count = piece.len().min(rest.len());
        if rest[..count] != piece[..count] {
            return false;
        }
        rest = &rest[count..];
        if rest.is_empty() {
            break;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_too_few_shows() {
        let mut bytes = vec![0; 200_000];
        fill(&mut bytes, 3, End::Client, 70_000);
        assert!(is_right(&bytes, 3, End::Client, 70_000));
        assert!(is_right(&bytes[150_000..], 3, End::Client, 220_000));
        assert!(!is_right(&bytes[1..], 3, End::Client, 70_000));
        assert!(!is_right(&bytes, 3, End::Server, 70_000));
        assert!(!is_right(&bytes, 5, End::Client, 70_000));
    }
}
