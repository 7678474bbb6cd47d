//! Many large answers at once, and what they take.

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use support::engine::Engine;
use support::home::Home;

const MIB: usize = 1024 * 1024;
const CALLERS: usize = 48;

/// Asks for `pattern` without keeping the answer, and gives its length.
fn ask(socket: &Path, pattern: &str) -> usize {
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

/// A line of a process's status, as a number.
fn status(pid: &str, name: &str) -> Option<usize> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The most memory that the daemon and each of its children had, in MiB.
fn peaks(engine: &Engine) -> Vec<usize> {
    let is_ours = |pid: &String| {
        *pid == engine.pid().to_string() || status(pid, "PPid:") == Some(engine.pid() as usize)
    };
    let processes = fs::read_dir("/proc").unwrap();
    let names = processes.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let peaks = names
        .filter(is_ours)
        .filter_map(|pid| status(&pid, "VmHWM:"));
    peaks.map(|kibibytes| kibibytes / 1024).collect()
}

#[test]
fn large_answers_at_once_do_not_fill_the_memory() {
    let home = Home::new();
    let config = home.path().join("config.toml");
    // Time enough for a machine that is busy with other tests.
    let text = "answer_memory = \"32MiB\"\n[plugins.file]\ntimeout = \"2m\"\n";
    fs::write(&config, text).unwrap();
    let mut serve = home.keyway(["serve", "--config"]);
    let engine = Engine::start(serve.arg(&config));
    let value = vec![b'x'; 8 * MIB];
    assert!(home.run("set big", &value).status.success());
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..CALLERS)
            .map(|_| scope.spawn(|| ask(&home.socket(), "big")))
            .collect();
        for answer in asking {
            assert!(answer.join().unwrap() > value.len());
        }
    });
    let peaks = peaks(&engine);
    // Without a bound, both processes take more than half a gigabyte.
    assert!(peaks.len() >= 2, "{peaks:?}");
    assert!(peaks.iter().all(|peak| *peak < 400), "{peaks:?} MiB");
}
