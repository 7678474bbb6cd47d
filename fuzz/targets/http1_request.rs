//! Any bytes to an HTTP/1.1 server, in pieces whose length the first byte tells. A plain first request is
//! answered without hyper, unless dates are to be written, which only hyper does: but for them, nobody may see
//! the difference.
#![no_main]

use std::future::pending;

use keyway_fuzz::{Wire, block_on, router};
use keyway_http::{ServeConfig, serve_connection};
use libfuzzer_sys::fuzz_target;

/// Ends whatever head the input leaves open. When hyper refuses one that has not ended depends on the pieces in
/// which it came: it looks again only when the end is there.
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

fuzz_target!(|input: &[u8]| {
    let Some((size, bytes)) = input.split_first() else {
        return;
    };
    let size = match usize::from(*size) {
        0 => bytes.len().max(1),
        size => size,
    };
    let mut pieces: Vec<Vec<u8>> = bytes.chunks(size).map(<[u8]>::to_vec).collect();
    pieces.push(END_OF_HEAD.to_vec());
    let [ours, hypers] = [false, true].map(|date| without_dates(&answer(pieces.clone(), date)));
    assert_eq!(
        String::from_utf8_lossy(&ours),
        String::from_utf8_lossy(&hypers)
    );
});

fn answer(pieces: Vec<Vec<u8>>, date: bool) -> Vec<u8> {
    let wire = Wire::new(pieces, false);
    let written = wire.written();
    let config = ServeConfig::default().date_header(date);
    // A peer that falls silent is an error, and so is what is no HTTP.
    let _ = block_on(serve_connection(wire, router(), &config, pending()));
    let mut written = written.lock().expect("nobody panics with the lock");
    std::mem::take(&mut *written)
}

/// Leaves out `date: Sun, 06 Nov 1994 08:49:37 GMT` and the like.
fn without_dates(mut bytes: &[u8]) -> Vec<u8> {
    const LINE: usize = 37;
    let mut rest = Vec::new();
    while let Some((first, after)) = bytes.split_first() {
        let line = &bytes[..bytes.len().min(LINE)];
        if line.starts_with(b"date: ") && line.ends_with(b" GMT\r\n") {
            bytes = &bytes[LINE..];
        } else {
            rest.push(*first);
            bytes = after;
        }
    }
    rest
}
