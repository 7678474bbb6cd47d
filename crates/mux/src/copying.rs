//! How payload is copied.

/// Up to here copying is done with plain instructions everywhere.
const PIECE: usize = 2 * 1024;

/// The bytes in pieces, to be copied one by one. A longer copy is one `rep movsb` on x86-64, which takes twenty times
/// as long on Zen 4 if the destination begins a few bytes behind the source in its page; and where the buffers of
/// callers begin is up to chance.
pub(crate) fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(PIECE)
}
