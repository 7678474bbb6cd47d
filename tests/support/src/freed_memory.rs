//! An allocator that searches the memory that its program frees, for tests that no copy of a secret is left there.
#![allow(unsafe_code, reason = "an allocator is unsafe by its nature")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A global allocator that counts freed blocks which contain one of some texts. The test program has one test, because
/// others would free their own blocks meanwhile; the test's own copies of the texts are never freed.
///
/// ```
/// use keyway_test_support::FreedMemory;
///
/// #[global_allocator]
/// static FREED: FreedMemory = FreedMemory::new(&[b"hunter2"]);
///
/// FREED.start();
/// drop(std::hint::black_box(b"hunter2".to_vec()));
/// assert_eq!(FREED.stop(), 1);
/// ```
#[derive(Debug)]
pub struct FreedMemory {
    texts: &'static [&'static [u8]],
    is_searching: AtomicBool,
    n_found: AtomicUsize,
}

impl FreedMemory {
    /// An allocator that searches for these texts once it was [started](Self::start).
    pub const fn new(texts: &'static [&'static [u8]]) -> Self {
        Self {
            texts,
            is_searching: AtomicBool::new(false),
            n_found: AtomicUsize::new(0),
        }
    }

    /// Resets the counter, and searches each block that is freed from now on.
    pub fn start(&self) {
        self.n_found.store(0, Ordering::SeqCst);
        self.is_searching.store(true, Ordering::SeqCst);
    }

    /// Ends the search, and returns the number of blocks that contained a text.
    pub fn stop(&self) -> usize {
        self.is_searching.store(false, Ordering::SeqCst);
        self.n_found()
    }

    /// The number of blocks since the start that contained a text.
    pub fn n_found(&self) -> usize {
        self.n_found.load(Ordering::SeqCst)
    }

    fn contains_text(&self, bytes: &[u8]) -> bool {
        let contains = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        self.texts.iter().any(|text| contains(text))
    }
}

// SAFETY: every call goes to the system's allocator with the same arguments. `realloc` is the provided one, which allocates,
// copies and frees.
unsafe impl GlobalAlloc for FreedMemory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Zeroed, so that a block never contains the bytes of an earlier owner.
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if self.is_searching.load(Ordering::Relaxed) {
            // SAFETY: the block is allocated, as large as its layout, and initialized.
            let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            if self.contains_text(bytes) {
                self.n_found.fetch_add(1, Ordering::SeqCst);
            }
        }
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
}
