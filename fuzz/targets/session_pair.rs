//! Two sessions and their users' scripts: bytes arrive in order, waiting tasks are woken, every stream
//! ends, nothing is left.
#![no_main]

use keyway_mux::fuzzing::{Script, session_pair};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: Script| session_pair(&script));
