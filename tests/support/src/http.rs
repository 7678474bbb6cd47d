//! A plain HTTP/1.1 client. It checks nothing itself, so its results show the daemon's own bytes.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::WAIT_LIMIT;

/// A request with a JSON body, as `curl --unix-socket` sends it. The server closes the connection after its response.
pub fn post_request(path: &str, json: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{json}",
        json.len()
    )
}

/// Sends [`post_request`] to a socket and returns the response.
///
/// # Panics
///
/// As [`exchange`].
#[track_caller]
pub fn post(socket: &Path, path: &str, json: &str) -> String {
    exchange(socket, &post_request(path, json))
}

/// Sends a request to a socket, and returns all bytes until the server closes the connection.
///
/// # Panics
///
/// Panics if the connection fails, or no bytes arrive within [`WAIT_LIMIT`].
#[track_caller]
pub fn exchange(socket: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(socket).expect("a connection");
    stream
        .set_read_timeout(Some(WAIT_LIMIT))
        .expect("a timeout");
    stream.write_all(request.as_bytes()).expect("written");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    response
}
