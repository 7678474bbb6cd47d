//! Memory that a client frees holds no value, whether the secret was used, arrived in pieces or only in part.
//!
//! A binary of its own, because its allocator looks for a mark in every block that is freed. The responses are in memory that
//! is never freed, so a mark that is found was left by the client.
#![cfg(feature = "blocking")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;

use keyway_proto::resolver::v1::GetSecretsResponse;
use keyway_resolver::{DaemonSocket, Envelope, blocking};
use keyway_test_support::FreedMemory;
use prost::Message as _;
use tempfile::TempDir;

/// Eight bytes in place of a secret.
const MARK: [u8; 8] = [0xa7, 0x5e, 0xc2, 0x91, 0x3d, 0xf4, 0x68, 0x1b];

#[global_allocator]
static FREED: FreedMemory = FreedMemory::new(&[&MARK]);

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
    FREED.start();
    // The search finds a mark that was left on purpose.
    drop(std::hint::black_box(MARK.repeat(10)));
    assert!(FREED.stop() > 0);
    FREED.start();
    for index in 0..n_responses {
        let resolver = blocking::Resolver::new(DaemonSocket::at(path.clone().into())).unwrap();
        let result = resolver.get_one(&id);
        assert_eq!(result.is_ok(), index < 2 * lengths.len(), "{index}");
        drop((result, resolver));
        assert_eq!(FREED.n_found(), 0, "response {index}");
    }
    FREED.stop();
    daemon.join().unwrap();
}
