//! Any bytes to an HTTP/1.1 server. The pieces in which they arrive, whose length the first byte gives, do not matter.
#![no_main]

use std::future::pending;

use keyway_fuzz::{Wire, block_on, router};
use keyway_http::{Limits, serve_connection};
use libfuzzer_sys::fuzz_target;

/// Ends the head that the input may leave open.
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// The field of a client that waits before it sends its body.
const EXPECT: &[u8] = b"expect";

fuzz_target!(|input: &[u8]| {
    let Some((size, bytes)) = input.split_first() else {
        return;
    };
    let whole = [bytes, END_OF_HEAD].concat();
    let pieces = whole.chunks(usize::from(*size).max(1)).map(<[u8]>::to_vec);
    let in_pieces = respond(pieces.collect());
    // Only a client whose body has not arrived receives 100 Continue, and is disconnected if it is refused.
    let waits = whole.to_ascii_lowercase();
    let waits = waits.windows(EXPECT.len()).any(|part| part == EXPECT);
    let at_once = respond(vec![whole]);
    if !waits {
        assert_eq!(comparable(&in_pieces), comparable(&at_once));
    }
});

fn respond(pieces: Vec<Vec<u8>>) -> Vec<u8> {
    let wire = Wire::new(pieces, false);
    let written = wire.written();
    // A peer that sends nothing more is an error, and so is one that violates HTTP.
    let _ = block_on(serve_connection(
        wire,
        router(),
        &Limits::default(),
        pending(),
    ));
    let mut written = written.lock().expect("no call panics with the lock");
    std::mem::take(&mut *written)
}

/// Maps all refusals of a head to one, because the fault that is found first depends on the part of the head that has arrived.
fn comparable(written: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(written).into_owned();
    for refusal in [
        "HTTP/1.1 431 Request Header Fields Too Large",
        "HTTP/1.1 505 HTTP Version Not Supported",
    ] {
        text = text.replace(refusal, "HTTP/1.1 400 Bad Request");
    }
    text
}
