//! The memory of a daemon and a plugin while many large responses are in flight.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use keyway_test_support::process::{descendants, status};

use crate::support::Home;

const MIB: usize = 1024 * 1024;
const CALLERS: usize = 16;
/// The daemon's memory for responses, in MiB.
const BUDGET_MIB: usize = 32;

/// Queries `pattern` without keeping the response, and returns its length.
fn query(socket: &Path, pattern: &str) -> usize {
    let mut stream = UnixStream::connect(socket).unwrap();
    let message = [&[0x0a, pattern.len() as u8], pattern.as_bytes()].concat();
    let head = format!(
        "POST /resolver.v1.ResolverService/GetSecrets HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/proto\r\nContent-Length: {}\r\n\r\n",
        message.len()
    );
    stream
        .write_all(&[head.as_bytes(), &message].concat())
        .unwrap();
    let mut buffer = vec![0; MIB];
    let mut length = stream.read(&mut buffer).unwrap();
    assert!(
        buffer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&buffer[..length])
    );
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => return length,
            more => length += more,
        }
    }
}

/// The most memory that the daemon and each of its children had, in MiB.
fn peaks(daemon: u32) -> Vec<usize> {
    let daemon = daemon.cast_signed();
    let processes = std::iter::once(daemon).chain(descendants(daemon));
    let peaks = processes.filter_map(|pid| status(pid, "VmHWM"));
    peaks.map(|kibibytes| kibibytes / 1024).collect()
}

#[test]
fn large_responses_at_once_stay_within_the_memory_budget() {
    let home = Home::new();
    // Time enough for a machine that is busy with other tests.
    home.configure(&format!(
        "answer_memory = \"{BUDGET_MIB}MiB\"\n[plugins.file]\ntimeout = \"2m\"\n"
    ));
    let value = vec![b'x'; 8 * MIB];
    // Before the daemon runs: a write has memory of its own.
    home.set("big", &value);
    let daemon = home.serve(&[]);
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| scope.spawn(|| query(&home.socket(), "big")))
            .collect();
        for caller in callers {
            assert!(caller.join().unwrap() > value.len());
        }
    });
    let peaks = peaks(daemon.id());
    // Without a bound, the responses and their copies take a quarter of a gigabyte in either process.
    assert!(peaks.len() >= 2, "{peaks:?}");
    assert!(peaks[0] < 2 * BUDGET_MIB, "{peaks:?} MiB");
    assert!(peaks.iter().all(|peak| *peak < 200), "{peaks:?} MiB");
}
