//! Payload bytes may be secrets, so buffers of ours are overwritten when they are done with.

/// Overwrites `bytes` with zeros, even where nobody reads them again.
///
/// `black_box` keeps the compiler from seeing that, and a plain `fill` is a `memset`, unlike
/// byte-wise volatile writes, which would cost more than the transfer itself.
pub(crate) fn zeroize(bytes: &mut [u8]) {
    bytes.fill(0);
    std::hint::black_box(&mut *bytes);
    #[cfg(test)]
    tests::count(bytes.len());
}

/// Memory that is given back cannot be looked at, so tests count what was wiped before.
#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    thread_local! {
        static ZEROIZED: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn count(bytes: usize) {
        ZEROIZED.set(ZEROIZED.get() + bytes);
    }

    /// How many bytes an action wipes.
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
