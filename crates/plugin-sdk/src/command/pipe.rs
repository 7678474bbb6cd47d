//! The pipes to and from a program. They may carry a value, so their buffers are zeroized.

use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;

use keyway_local::readable;
use keyway_secrets::SecretValue;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, ioctl_fionbio, read};
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe::Sender;

/// The first capacity of a buffer.
const FIRST_CAPACITY: usize = 4096;
/// Maximum number of reads after the end of a program: a process that has left its group may write on forever.
const MAX_RESTS: usize = 1024;

/// The rule for bytes beyond the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beyond {
    /// Reading stops with at least one byte more than the limit.
    Stop,
    /// The first bytes are dropped.
    DropFirst,
}

/// Reads a pipe into a bounded buffer, which is zeroized when it grows and when it is dropped.
pub(super) struct Reader {
    /// `None` after the end of the pipe.
    pipe: Option<AsyncFd<OwnedFd>>,
    bytes: Vec<u8>,
    limit: usize,
    beyond: Beyond,
}

/// The result of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Read,
    /// Nothing is in the pipe now.
    Empty,
    /// The pipe has ended, or the limit is exceeded.
    Ended,
}

impl Reader {
    pub(super) fn new(
        pipe: Option<impl Into<OwnedFd>>,
        limit: usize,
        beyond: Beyond,
    ) -> io::Result<Self> {
        Ok(Self {
            pipe: pipe.map(|pipe| non_blocking(pipe.into())).transpose()?,
            bytes: Vec::new(),
            limit,
            beyond,
        })
    }

    /// Reads some bytes. Waits forever after the end of the pipe.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: bytes that were read are in the buffer.
    pub(super) async fn read(&mut self) -> io::Result<()> {
        loop {
            make_space(&mut self.bytes, self.limit, self.beyond);
            let Some(pipe) = &self.pipe else {
                return pending().await;
            };
            let mut ready = pipe.readable().await?;
            match read_once(ready.get_inner(), &mut self.bytes)? {
                Progress::Read => return Ok(()),
                Progress::Empty => ready.clear_ready(),
                Progress::Ended => self.pipe = None,
            }
        }
    }

    /// Reads the content of the pipe: all output of a program that has exited. A process that has left the group
    /// may hold the other end, so its end is not waited for.
    pub(super) fn read_rest(&mut self) -> io::Result<()> {
        let Some(pipe) = &self.pipe else {
            return Ok(());
        };
        for _ in 0..MAX_RESTS {
            make_space(&mut self.bytes, self.limit, self.beyond);
            if self.is_exceeded() || read_once(pipe.get_ref(), &mut self.bytes)? != Progress::Read {
                break;
            }
        }
        Ok(())
    }

    /// Returns `true` if more than the limit was read.
    pub(super) fn is_exceeded(&self) -> bool {
        self.beyond == Beyond::Stop && self.bytes.len() > self.limit
    }

    /// Returns the bytes that were read; of a reader that drops the first bytes the last ones up to the limit.
    pub(super) fn into_value(mut self) -> SecretValue {
        if self.beyond == Beyond::DropFirst {
            keep_end(&mut self.bytes, self.limit);
        }
        SecretValue::new(std::mem::take(&mut self.bytes))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        drop(SecretValue::new(std::mem::take(&mut self.bytes)));
    }
}

/// Writes a value to a pipe and closes it.
pub(super) struct Writer {
    /// `None` after the last byte, and after the reader has gone.
    pipe: Option<Sender>,
    value: SecretValue,
    n_written: usize,
}

impl Writer {
    pub(super) fn new(
        pipe: Option<impl Into<OwnedFd>>,
        value: Option<SecretValue>,
    ) -> io::Result<Self> {
        let sender = |pipe: OwnedFd| {
            ioctl_fionbio(&pipe, true)?;
            Sender::from_owned_fd(pipe)
        };
        Ok(Self {
            pipe: pipe.map(|pipe| sender(pipe.into())).transpose()?,
            value: value.unwrap_or_default(),
            n_written: 0,
        })
    }

    /// Returns the value.
    pub(super) fn value(&self) -> &SecretValue {
        &self.value
    }

    /// Writes some bytes. Waits forever after the last one.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: bytes that were written are not written again.
    pub(super) async fn write(&mut self) -> io::Result<()> {
        loop {
            let rest = &self.value.expose()[self.n_written..];
            if rest.is_empty() {
                self.pipe = None;
            }
            let Some(pipe) = &self.pipe else {
                return pending().await;
            };
            pipe.writable().await?;
            match pipe.try_write(rest) {
                Ok(n_written) => {
                    self.n_written += n_written;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // A program need not read its input.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.pipe = None,
                Err(error) => return Err(error),
            }
        }
    }
}

fn non_blocking(pipe: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    ioctl_fionbio(&pipe, true)?;
    readable(pipe)
}

/// Reads into the spare capacity, which is not empty.
fn read_once(pipe: &OwnedFd, bytes: &mut Vec<u8>) -> io::Result<Progress> {
    loop {
        return match read(pipe, spare_capacity(bytes)) {
            Ok(0) => Ok(Progress::Ended),
            Ok(_) => Ok(Progress::Read),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Ok(Progress::Empty),
            Err(error) => Err(error.into()),
        };
    }
}

/// Makes sure that there is spare capacity, unless the limit is exceeded and reading stops.
fn make_space(bytes: &mut Vec<u8>, limit: usize, beyond: Beyond) {
    if bytes.len() < bytes.capacity() {
        return;
    }
    let largest = match beyond {
        Beyond::Stop => limit.saturating_add(1),
        Beyond::DropFirst => limit.saturating_mul(2),
    };
    if bytes.len() < largest {
        let capacity = bytes.len().saturating_mul(2).max(FIRST_CAPACITY);
        let mut larger = Vec::with_capacity(capacity.min(largest));
        larger.extend_from_slice(bytes);
        drop(SecretValue::new(std::mem::replace(bytes, larger)));
    } else if beyond == Beyond::DropFirst {
        keep_end(bytes, limit);
    }
}

/// Drops the first bytes beyond a length.
fn keep_end(bytes: &mut Vec<u8>, len: usize) {
    let n_dropped = bytes.len().saturating_sub(len);
    bytes.copy_within(n_dropped.., 0);
    bytes.truncate(bytes.len() - n_dropped);
}

#[cfg(test)]
mod tests {
    use std::io::{PipeWriter, Write};

    use super::*;

    fn reader(limit: usize, beyond: Beyond) -> (PipeWriter, Reader) {
        let (reader, writer) = io::pipe().unwrap();
        (writer, Reader::new(Some(reader), limit, beyond).unwrap())
    }

    #[tokio::test]
    async fn written_bytes_are_read_up_to_the_limit() {
        let (mut writer, mut reader) = reader(20_000, Beyond::Stop);
        writer.write_all(&[b'x'; 20_000]).unwrap();
        while reader.bytes.len() < 20_000 {
            reader.read().await.unwrap();
        }
        assert!(!reader.is_exceeded());
        reader.read_rest().unwrap();
        writer.write_all(b"y").unwrap();
        reader.read_rest().unwrap();
        assert!(reader.is_exceeded());
        writer.write_all(&[b'y'; 20_000]).unwrap();
        reader.read_rest().unwrap();
        assert!(reader.bytes.len() < 30_000, "reading has stopped");
    }

    #[tokio::test]
    async fn the_last_bytes_are_kept() {
        let (mut writer, mut reader) = reader(5000, Beyond::DropFirst);
        for n in 0..1000 {
            writeln!(writer, "{n:>19}").unwrap();
            reader.read().await.unwrap();
        }
        assert!(reader.bytes.capacity() < 20_000);
        let value = reader.into_value();
        assert_eq!(value.len(), 5000);
        assert!(value.expose().ends_with(b"999\n"));
    }

    #[tokio::test]
    async fn a_value_is_written_and_the_pipe_closed() {
        let (mut reader, writer) = io::pipe().unwrap();
        let value = SecretValue::new(vec![b'x'; 200_000]);
        let mut writer = Writer::new(Some(writer), Some(value)).unwrap();
        let reading = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut reader, &mut bytes).unwrap();
            bytes.len()
        });
        let writing = async {
            loop {
                writer.write().await.unwrap();
            }
        };
        tokio::select! {
            length = reading => assert_eq!(length.unwrap(), 200_000),
            () = writing => unreachable!(),
        }
    }
}
