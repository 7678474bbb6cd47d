//! Payload bytes may be secrets, so the crate overwrites its buffers after use.

/// Overwrites `bytes` with zeros, even if they are never read again.
///
/// `black_box` keeps the compiler from seeing that, and a plain `fill` is a `memset`, unlike
/// byte-wise volatile writes, which would cost more than the transfer itself.
pub(crate) fn zeroize(bytes: &mut [u8]) {
    bytes.fill(0);
    std::hint::black_box(&mut *bytes);
    #[cfg(test)]
    tests::count(bytes.len());
}

/// Freed memory cannot be read, so tests count what was zeroized before.
#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    thread_local! {
        static ZEROIZED: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn count(bytes: usize) {
        ZEROIZED.set(ZEROIZED.get() + bytes);
    }

    /// Returns how many bytes an action zeroizes.
    pub(crate) fn zeroized_by(action: impl FnOnce()) -> usize {
        let before = ZEROIZED.get();
        action();
        ZEROIZED.get() - before
    }

    #[test]
    fn nothing_is_left() {
        let mut bytes = *b"secret";
        assert_eq!(zeroized_by(|| super::zeroize(&mut bytes[1..])), 5);
        assert_eq!(&bytes, b"s\0\0\0\0\0");
    }
}
