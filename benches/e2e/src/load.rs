//! The load: callers on kept-alive connections, driven by one thread with `epoll` and no HTTP library.
//!
//! It takes four to five microseconds of CPU for a request. A load by an HTTP library takes as much as the daemon and its
//! plugin together, and measures itself.

use std::io::{Error, ErrorKind, Result, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use crate::interrupt;
use crate::response::ResponseReader;
use crate::secret::SecretRequest;

/// Limit for one response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);

/// The interval between two checks for signals while no response arrives.
const POLL_INTERVAL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// The result of one measurement.
#[derive(Debug)]
pub(crate) struct Measured<M> {
    /// The time from each request to its response, in order of arrival.
    pub(crate) latencies: Vec<Duration>,
    /// From the first mark to the last response before the second.
    pub(crate) elapsed: Duration,
    /// The results of `mark` before and after.
    pub(crate) marks: [M; 2],
}

/// Callers, each with at most one outstanding request.
pub(crate) struct Load<'a> {
    request: &'a SecretRequest,
    callers: Vec<Caller>,
    epoll: rustix::fd::OwnedFd,
    events: Vec<epoll::Event>,
}

#[derive(Debug)]
struct Caller {
    socket: UnixStream,
    reader: ResponseReader,
    sent: Instant,
}

impl Caller {
    fn send(&mut self, request: &SecretRequest) -> Result<()> {
        // The socket has space: nothing is unread on it.
        self.sent = Instant::now();
        self.socket.write_all(request.bytes())
    }

    /// Reads from the socket. Returns the latency if the response is complete.
    fn receive(&mut self, request: &SecretRequest) -> Result<Option<Duration>> {
        let body = match self.reader.read(&mut self.socket) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            body => body?,
        };
        match body {
            None => Ok(None),
            Some(body) if request.accepts(body) => Ok(Some(self.sent.elapsed())),
            Some(_) => Err(Error::other("the response holds another value")),
        }
    }
}

impl<'a> Load<'a> {
    /// Connects `n_callers` callers to the socket at `path`.
    pub(crate) fn connect(
        path: &Path,
        request: &'a SecretRequest,
        n_callers: usize,
    ) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut callers = Vec::with_capacity(n_callers);
        for index in 0..n_callers {
            let socket = UnixStream::connect(path)?;
            socket.set_nonblocking(true)?;
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&epoll, &socket, data, epoll::EventFlags::IN)?;
            callers.push(Caller {
                socket,
                reader: ResponseReader::new(),
                sent: Instant::now(),
            });
        }
        Ok(Self {
            request,
            callers,
            epoll,
            events: Vec::with_capacity(n_callers),
        })
    }

    /// Makes one request with each caller, which also warms up.
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run).
    pub(crate) fn run_once(&mut self) -> Result<()> {
        self.send_all()?;
        self.drain(self.callers.len())
    }

    /// Makes requests for `duration`, and calls `mark` before and after. Returns with no request outstanding.
    ///
    /// # Errors
    ///
    /// If a response is late, is not `200 OK`, or holds another value; if a connection fails; or `Interrupted`.
    pub(crate) fn run<M>(
        &mut self,
        duration: Duration,
        mut mark: impl FnMut() -> Result<M>,
    ) -> Result<Measured<M>> {
        self.run_once()?;
        let before = mark()?;
        let started = Instant::now();
        self.send_all()?;
        let mut latencies = Vec::new();
        let mut elapsed = Duration::ZERO;
        while elapsed < duration {
            self.poll(|caller, request| {
                if let Some(latency) = caller.receive(request)? {
                    latencies.push(latency);
                    caller.send(request)?;
                }
                Ok(())
            })?;
            elapsed = started.elapsed();
        }
        let marks = [before, mark()?];
        self.drain(self.callers.len())?;
        Ok(Measured {
            latencies,
            elapsed,
            marks,
        })
    }

    fn send_all(&mut self) -> Result<()> {
        let request = self.request;
        self.callers
            .iter_mut()
            .try_for_each(|caller| caller.send(request))
    }

    /// Waits for the outstanding responses.
    fn drain(&mut self, mut n_outstanding: usize) -> Result<()> {
        while n_outstanding > 0 {
            self.poll(|caller, request| {
                n_outstanding -= usize::from(caller.receive(request)?.is_some());
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Waits until sockets are readable and calls `receive` for each of their callers.
    fn poll(
        &mut self,
        mut receive: impl FnMut(&mut Caller, &SecretRequest) -> Result<()>,
    ) -> Result<()> {
        let started = Instant::now();
        self.events.clear();
        while self.events.is_empty() {
            interrupt::check()?;
            let events = rustix::buffer::spare_capacity(&mut self.events);
            match epoll::wait(&self.epoll, events, Some(&POLL_INTERVAL)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if self.events.is_empty() && started.elapsed() > RESPONSE_TIMEOUT {
                return Err(Error::new(ErrorKind::TimedOut, "a response is late"));
            }
        }
        for event in &self.events {
            let caller = &mut self.callers[event.data.u64() as usize];
            receive(caller, self.request)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// An envelope with the value `v`.
    const BODY: &[u8] = b"\x0a\x06\x0a\x01i\x12\x01v";

    /// Responds to every request with `status` and `body` until the callers have disconnected.
    fn serve(listener: UnixListener, n_callers: usize, status: &'static str, body: &'static [u8]) {
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let response = [head.as_bytes(), body].concat();
        for _ in 0..n_callers {
            let (mut socket, _) = listener.accept().expect("a caller");
            let response = response.clone();
            thread::spawn(move || {
                let mut request = [0; 4096];
                while socket.read(&mut request).is_ok_and(|count| count > 0) {
                    if socket.write_all(&response).is_err() {
                        return;
                    }
                }
            });
        }
    }

    fn load(n_callers: usize, status: &'static str, body: &'static [u8]) -> Result<Measured<()>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path)?;
        let server = thread::spawn(move || serve(listener, n_callers, status, body));
        let request = SecretRequest::new("i", b"v");
        let mut load = Load::connect(&path, &request, n_callers)?;
        server.join().expect("every caller was accepted");
        load.run(Duration::from_millis(20), || Ok(()))
    }

    #[test]
    fn every_caller_makes_requests() {
        let measured = load(3, "200 OK", BODY).expect("a measurement");
        assert!(
            measured.latencies.len() >= 3,
            "{}",
            measured.latencies.len()
        );
        assert!(measured.elapsed >= Duration::from_millis(20));
    }

    #[test]
    fn an_error_response_ends_the_measurement() {
        let error = load(1, "503 Busy", b"").expect_err("an error");
        assert_eq!(
            error.to_string(),
            "the response is \"HTTP/1.1 503 Busy\" \"\""
        );
    }

    #[test]
    fn another_value_ends_the_measurement() {
        let body = b"\x0a\x06\x0a\x01i\x12\x01w";
        let error = load(1, "200 OK", body).expect_err("an error");
        assert_eq!(error.to_string(), "the response holds another value");
    }
}
