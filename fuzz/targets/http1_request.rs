//! Any bytes to an HTTP/1.1 server. The pieces in which they arrive, whose length the first byte says, do not matter.
#![no_main]

use std::future::pending;

use keyway_fuzz::{Wire, block_on, router};
use keyway_http::{Limits, serve_connection};
use libfuzzer_sys::fuzz_target;

/// Ends the head that the input may leave open.
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

fuzz_target!(|input: &[u8]| {
    let Some((size, bytes)) = input.split_first() else {
        return;
    };
    let whole = [bytes, END_OF_HEAD].concat();
    let pieces = whole.chunks(usize::from(*size).max(1)).map(<[u8]>::to_vec);
    let in_pieces = answer(pieces.collect());
    let at_once = answer(vec![whole]);
    assert_eq!(
        String::from_utf8_lossy(&in_pieces),
        String::from_utf8_lossy(&at_once)
    );
});

fn answer(pieces: Vec<Vec<u8>>) -> Vec<u8> {
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
    without_interim(&std::mem::take(&mut *written))
}

/// Leaves `100 Continue` out, which is sent only if the body has not arrived yet.
fn without_interim(written: &[u8]) -> Vec<u8> {
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut rest = Vec::new();
    let mut written = written;
    while let Some((first, after)) = written.split_first() {
        match written.strip_prefix(interim) {
            Some(after) => written = after,
            None => {
                rest.push(*first);
                written = after;
            }
        }
    }
    rest
}
