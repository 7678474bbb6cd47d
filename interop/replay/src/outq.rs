//! The number of bytes of a socket that the peer has not read yet. The request has no safe wrapper.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::ioctl;

/// `SIOCOUTQ`: for a Unix socket, the memory of the bytes that its peer has not read.
const OUTQ: ioctl::Opcode = 0x5411;

/// A peer that reads nothing for this long is stuck.
const LIMIT: Duration = Duration::from_secs(10);

/// The checks without a pause. After that the peer may need this processor, and a loop that only yields would take most of a busy
/// machine from it.
const QUICK_CHECKS: u32 = 20;
const PAUSE: Duration = Duration::from_micros(20);

/// Waits until the peer has read everything that was written.
pub(crate) fn wait_until_read(socket: &UnixStream) -> io::Result<()> {
    let start = Instant::now();
    let mut checks = 0;
    while unread(socket)? > 0 {
        if start.elapsed() > LIMIT {
            let message = "the peer has read nothing for 10 s";
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        checks += 1;
        if checks < QUICK_CHECKS {
            std::thread::yield_now();
        } else {
            #[expect(
                clippy::disallowed_methods,
                reason = "the queue of a socket has no event"
            )]
            std::thread::sleep(PAUSE);
        }
    }
    Ok(())
}

fn unread(socket: &UnixStream) -> io::Result<i32> {
    // SAFETY: the kernel writes one int for this request, which the getter holds, and the descriptor lives as long as the borrow.
    let request = unsafe { ioctl::Getter::<OUTQ, i32>::new() };
    // SAFETY: as above; the request has no other effect.
    Ok(unsafe { ioctl::ioctl(socket, request)? })
}
