//! Memory that a client frees holds no value, whether the secret was used, arrived in pieces or only in part.
//!
//! A binary of its own, because its allocator looks for a mark in every block that is freed. The responses are in memory that
//! is never freed, so a mark that is found was left by the client.
#![cfg(feature = "blocking")]
#![allow(unsafe_code, reason = "a global allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use keyway_proto::resolver::v1::GetSecretsResponse;
use keyway_resolver::{DaemonSocket, Envelope, blocking};
use prost::Message as _;
use tempfile::TempDir;

/// Eight bytes in place of a secret.
const MARK: [u8; 8] = [0xa7, 0x5e, 0xc2, 0x91, 0x3d, 0xf4, 0x68, 0x1b];

struct Searching;

static IS_SEARCHING: AtomicBool = AtomicBool::new(false);
static FOUND: AtomicUsize = AtomicUsize::new(0);

// SAFETY: memory comes from the system's allocator and is returned to it; a block is read before that, as bytes
// that may be uninitialized, which volatile reads allow on the platforms that the tests run on.
unsafe impl GlobalAlloc for Searching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds the contract of this call. Zeroed memory holds nothing of earlier blocks.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if IS_SEARCHING.load(Ordering::Relaxed) {
            // SAFETY: the block is `layout.size()` bytes long, all of which were zeroed at its allocation.
            let bytes = unsafe { std::slice::from_raw_parts(at, layout.size()) };
            if bytes.windows(MARK.len()).any(|window| window == MARK) {
                FOUND.fetch_add(1, Ordering::Relaxed);
            }
        }
        // SAFETY: the caller upholds the contract of this call.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller has checked that the new size is a valid one.
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !new.is_null() {
            // SAFETY: both blocks have at least as many bytes, and the old one is freed once.
            unsafe {
                std::ptr::copy_nonoverlapping(at, new, layout.size().min(size));
                self.dealloc(at, layout);
            }
        }
        new
    }
}

#[global_allocator]
static ALLOCATOR: Searching = Searching;

/// A response with a value of so many bytes, all of them marks. Never freed.
fn response(len: usize) -> &'static [u8] {
    let value: Vec<u8> = MARK.iter().copied().cycle().take(len).collect();
    let envelope = Envelope::new("web/token".parse().unwrap(), value);
    let body = GetSecretsResponse {
        envelopes: vec![envelope.into()],
    };
    let mut bytes = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/proto\r\ncontent-length: {}\r\n\r\n",
        body.encoded_len()
    )
    .into_bytes();
    bytes.extend(body.encode_to_vec());
    bytes.leak()
}

/// Serves one response on each connection, in pieces of so many bytes, and closes it.
fn serve(listener: UnixListener, responses: Vec<(&'static [u8], usize)>) {
    for (response, piece) in responses {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).unwrap() > 0);
        for piece in response.chunks(piece) {
            stream.write_all(piece).unwrap();
        }
    }
}

/// One test, because others of the process would free their own blocks meanwhile.
#[test]
fn freed_memory_holds_no_value() {
    let lengths = [40, 5_000, 300_000];
    let whole = lengths.map(|len| (response(len), usize::MAX));
    let pieces = lengths.map(|len| (response(len), 1_000));
    // The connection ends in the middle of the value.
    let cut = lengths.map(|len| {
        let response = response(len);
        (&response[..response.len() - 20], 700)
    });
    let responses = [whole, pieces, cut].concat();
    let folder = TempDir::with_prefix("kw").unwrap();
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let n_responses = responses.len();
    let daemon = std::thread::spawn(move || serve(listener, responses));
    let id = "web/token".parse().unwrap();
    IS_SEARCHING.store(true, Ordering::SeqCst);
    // The search finds a mark that was left on purpose.
    drop(std::hint::black_box(MARK.repeat(10)));
    assert!(FOUND.swap(0, Ordering::SeqCst) > 0);
    for index in 0..n_responses {
        let resolver = blocking::Resolver::new(DaemonSocket::at(path.clone().into())).unwrap();
        let result = resolver.get_one(&id);
        assert_eq!(result.is_ok(), index < 2 * lengths.len(), "{index}");
        drop((result, resolver));
        assert_eq!(FOUND.load(Ordering::SeqCst), 0, "response {index}");
    }
    IS_SEARCHING.store(false, Ordering::SeqCst);
    daemon.join().unwrap();
}
