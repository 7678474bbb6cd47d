//! A caller that uses only HTTP and JSON. It checks nothing itself, so its results show the decisions of the daemon.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use keyway_local::Address;
use serde::{Deserialize, Serialize};

/// The bound of a wait for the daemon.
const LIMIT: Duration = Duration::from_secs(30);

/// The first argument that makes the misbehaving plugin a caller.
pub(crate) const MODE: &str = "call";

/// The first argument that makes the misbehaving plugin a process that connects and stays.
pub(crate) const STAY: &str = "stay";

/// The response of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reply {
    /// The HTTP status; 0 if the connection was refused or closed without a response.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Reply {
    /// Returns `true` if the call succeeded.
    pub fn is_ok(&self) -> bool {
        matches!(self.status, 101 | 200)
    }

    /// The outcome: `ok`, the Connect code, or `closed`.
    pub fn outcome(&self) -> String {
        let error = serde_json::from_str::<serde_json::Value>(&self.body).ok();
        let code = error.as_ref().and_then(|error| error.get("code")?.as_str());
        match (self.status, code) {
            (101 | 200, _) => "ok".into(),
            (0, _) => "closed".into(),
            (_, Some(code)) => code.into(),
            (403, None) => "permission_denied".into(),
            (status, None) => format!("status {status}"),
        }
    }
}

/// Calls `method` at `address`. The argument is an id, a pattern or the name of a plugin; empty where the method takes none.
///
/// Blocks, at most for half a minute.
pub fn call(address: &Address, method: &str, argument: &str) -> Reply {
    let (path, message) = request(method, argument);
    exchange(address, &head(path, &message)).unwrap_or_default()
}

/// The same in a process of its own: `wrapper` is a program with arguments that runs `caller`, for
/// instance as another user.
///
/// # Panics
///
/// Panics if the process cannot be started or fails.
pub fn call_as(
    wrapper: &[&str],
    caller: &Path,
    address: &Address,
    method: &str,
    argument: &str,
) -> Reply {
    let address = std::ffi::OsString::from(address.clone());
    let mut command = match wrapper {
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(caller);
            command
        }
        [] => Command::new(caller),
    };
    command.args([MODE]).arg(address).args([method, argument]);
    let output = command.output().expect("the caller runs");
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{command:?}: {error}: {output:?}"))
}

/// The process of a caller: the arguments are an address, a method and its argument; the reply is printed as JSON.
pub(crate) fn run(mut arguments: impl Iterator<Item = String>) {
    let mut next = || arguments.next().expect("an argument");
    let address: Address = next().parse().expect("an address");
    let reply = call(&address, &next(), &next());
    let reply = serde_json::to_string(&reply).expect("a reply is JSON");
    io::stdout()
        .write_all(reply.as_bytes())
        .expect("standard output");
}

/// A process that connects, prints `connected` after a first response, and ends with its connection. With a number behind the
/// address it opens so many connections instead, and prints how many the daemon closed without a byte.
pub(crate) fn stay(mut arguments: impl Iterator<Item = String>) {
    let address: Address = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .expect("an address");
    let address = address.to_socket_addr().expect("an address");
    if let Some(count) = arguments.next() {
        let count: usize = count.parse().expect("a number");
        let is_refused = |_: &usize| {
            let mut socket = UnixStream::connect_addr(&address).expect("a connection");
            socket.set_read_timeout(Some(LIMIT)).expect("a timeout");
            // A connection that is closed with unread bytes is reset.
            matches!(socket.read(&mut [0; 16]), Ok(0) | Err(_))
        };
        println_flushed(&(0..count).filter(is_refused).count().to_string());
        return;
    }
    let mut socket = UnixStream::connect_addr(&address).expect("a connection");
    socket
        .write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        .expect("written");
    let mut buffer = [0; 4096];
    let n_read = socket.read(&mut buffer).expect("a response");
    assert!(n_read > 0, "closed at once");
    println_flushed("connected");
    // The wait is for the end of the connection, clean or not.
    let _ = socket.read(&mut buffer);
}

/// Runs the command of [`DaemonProcess::flood_as`](crate::DaemonProcess::flood_as), and returns how many connections the daemon closed
/// without a byte.
///
/// # Panics
///
/// Panics if the process fails.
pub fn flooded(mut command: Command) -> usize {
    let output = command.output().expect("the caller runs");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .unwrap_or_else(|_| panic!("{command:?}: {output:?}"))
}

fn println_flushed(text: &str) {
    let mut output = io::stdout();
    output
        .write_all(format!("{text}\n").as_bytes())
        .and_then(|()| output.flush())
        .expect("standard output");
}

fn request(method: &str, argument: &str) -> (&'static str, serde_json::Value) {
    use serde_json::json;
    match method {
        "health" => ("/health", json!(null)),
        "hijack" => ("/hijack", json!(null)),
        "version" => ("/health.v1.VersionService/GetVersion", json!({})),
        "get" => (
            "/resolver.v1.ResolverService/GetSecrets",
            json!({ "pattern": argument }),
        ),
        "authorize" => (
            "/resolver.v1.AuthorizerService/Authorize",
            json!({ "patterns": [argument] }),
        ),
        "list" => (
            "/keyway.v1.CatalogService/ListSecrets",
            json!({ "pattern": argument }),
        ),
        "explain" => (
            "/keyway.v1.ManagementService/Explain",
            json!({ "pattern": argument }),
        ),
        "changed" => (
            "/keyway.v1.HostService/Changed",
            json!({ "patterns": [argument] }),
        ),
        "plugins" => ("/plugins.v1.PluginManagementService/ListPlugins", json!({})),
        "inspect" => ("/keyway.v1.ManagementService/ListPlugins", json!({})),
        "status" => ("/keyway.v1.ManagementService/Status", json!({})),
        "enable" => (
            "/plugins.v1.PluginManagementService/EnablePlugin",
            json!({ "name": argument }),
        ),
        "disable" => (
            "/plugins.v1.PluginManagementService/DisablePlugin",
            json!({ "name": argument }),
        ),
        "trust" => (
            "/keyway.v1.ManagementService/TrustPlugin",
            json!({ "name": argument }),
        ),
        "untrust" => (
            "/keyway.v1.ManagementService/UntrustPlugin",
            json!({ "name": argument }),
        ),
        "reload" => ("/keyway.v1.ManagementService/Reload", json!({})),
        "stop" => ("/keyway.v1.ManagementService/Stop", json!({})),
        _ => panic!("no method {method}"),
    }
}

/// The request of a method over any byte stream.
pub(crate) fn request_bytes(method: &str, argument: &str) -> Vec<u8> {
    let (path, message) = request(method, argument);
    head(path, &message)
}

fn head(path: &str, message: &serde_json::Value) -> Vec<u8> {
    if path == "/hijack" {
        return b"GET /hijack HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: tcp\r\n\r\n"
            .to_vec();
    }
    if message.is_null() {
        return format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").into_bytes();
    }
    let body = message.to_string();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn exchange(address: &Address, request: &[u8]) -> io::Result<Reply> {
    let mut socket = UnixStream::connect_addr(&address.to_socket_addr()?)?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.write_all(request)?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while !is_complete(&bytes) {
        match socket.read(&mut buffer)? {
            0 => break,
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    }
    Ok(read_reply(&bytes))
}

/// Returns `true` if a whole response was read: an upgraded connection, for instance, does not end by itself.
pub(crate) fn is_complete(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.to_ascii_lowercase();
    let length = length.lines().find_map(|line| {
        let value = line.strip_prefix("content-length:")?;
        value.trim().parse::<usize>().ok()
    });
    match length {
        Some(length) => body.len() >= length,
        None => head.starts_with("HTTP/1.1 101"),
    }
}

/// Reads a response, as far as it came.
pub(crate) fn read_reply(bytes: &[u8]) -> Reply {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok());
    Reply {
        status: status.unwrap_or_default(),
        body: body.into(),
    }
}
