//! Copying of payload.

/// The longest copy for which the C library uses plain instructions.
const PIECE: usize = 2 * 1024;

/// Returns the bytes in pieces, to be copied one by one. The C library copies more than that with one `rep movsb` on
/// x86-64, which takes twenty times as long on some processors (Zen 4) if the destination begins a few bytes behind
/// the source in its page. Where the buffers of callers begin is up to the allocator: without the pieces, 14 to 20 %
/// of the speed of bulk streams is lost at unlucky addresses.
pub(crate) fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(PIECE)
}
