//! [`Zeroed`]: a buffer that is zeroed before it is freed.

use std::ops::{Deref, DerefMut};

use zeroize::Zeroize;

/// A buffer that is zeroed, all of its capacity, when it is dropped.
#[derive(Default)]
pub(crate) struct Zeroed(pub(crate) Vec<u8>);

impl Drop for Zeroed {
    fn drop(&mut self) {
        // The elements of a `Vec` are zeroed one by one, its spare capacity at once.
        self.0.clear();
        self.0.zeroize();
    }
}

impl Deref for Zeroed {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Zeroed {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl AsRef<[u8]> for Zeroed {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
