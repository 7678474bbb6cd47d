//! Payload bytes may be secrets, so buffers of ours are overwritten when they are done with.

/// Overwrites `bytes` with zeros, even where nobody reads them again.
///
/// `black_box` keeps the compiler from seeing that, and a plain `fill` is a `memset`, unlike
/// byte-wise volatile writes, which would cost more than the transfer itself.
pub(crate) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    std::hint::black_box(bytes);
}
