//! A whole session, client or server, fed any bytes in any chunks while its user opens, reads, writes,
//! drops and waits: it keeps its invariants and its memory bound, sends only frames that a strict peer
//! accepts, and leaves nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| keyway_mux::fuzzing::session_bytes(input));
