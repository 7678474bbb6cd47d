//! Any bytes, in chunks of any length: they decode alike in pieces of any size, and encode to
//! themselves.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| keyway_mux::fuzzing::frame_decoder(input));
