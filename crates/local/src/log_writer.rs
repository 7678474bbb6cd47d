//! A log that never blocks the threads that write to it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// The stack of the thread, which calls `write` and `poll` and little else.
const STACK_SIZE: usize = 64 * 1024;

/// Writes lines to a descriptor on a thread of its own, through a bounded queue.
///
/// Standard error is often a pipe. A reader that stops reading fills it, and every thread that logs would block. Here a line
/// that does not fit into the queue is dropped and counted. From then on all lines are dropped until the queue was written;
/// one line with their number follows.
///
/// A line is the argument of one call of [`write`](io::Write::write), and is written as a whole. A descriptor that is closed, or
/// whose reader has gone, discards lines. The thread waits for a non-blocking descriptor.
///
/// Clones share the queue. The thread ends once the last clone is dropped and the queue was written.
///
/// ```
/// use keyway_local::LogWriter;
/// use std::io::{Read, Write};
/// use std::time::Duration;
///
/// let (mut reader, writer) = std::io::pipe()?;
/// let mut log = LogWriter::start(writer, 1024, |n| format!("{n} lines were dropped\n"))?;
/// log.write_all(b"started\n")?;
/// assert!(log.flush_within(Duration::from_secs(10)));
/// drop(log);
/// let mut text = String::new();
/// reader.read_to_string(&mut text)?;
/// assert_eq!(text, "started\n");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LogWriter(Arc<Handle>);

/// Closes the queue when the last [`LogWriter`] is dropped.
#[derive(Debug)]
struct Handle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Notified when a line is queued, when the queue was written, and when it is closed.
    changed: Condvar,
    /// Maximum of the queued bytes.
    capacity: usize,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Box<[u8]>>,
    /// Length of the lines and of the one that is being written.
    n_bytes: usize,
    /// Number of lines dropped since the queue was last empty.
    n_dropped: u64,
    is_writing: bool,
    is_closed: bool,
}

impl LogWriter {
    /// Starts the thread. At most `capacity` bytes are queued; `note` returns the line about dropped lines, given their number.
    ///
    /// # Errors
    ///
    /// Returns the error of the operating system if the thread cannot be started.
    pub fn start(
        output: impl AsFd + Send + 'static,
        capacity: usize,
        note: fn(u64) -> String,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            changed: Condvar::new(),
            capacity,
        });
        let writer = Arc::clone(&shared);
        thread::Builder::new()
            .name("log".to_owned())
            .stack_size(STACK_SIZE)
            .spawn(move || writer.write_lines(&output, note))?;
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// Waits until every queued line was written, for at most `limit`. Returns `true` if they were.
    pub fn flush_within(&self, limit: Duration) -> bool {
        let shared = &self.0.0;
        let waited = shared
            .changed
            .wait_timeout_while(shared.lock(), limit, |queue| !queue.is_written());
        let (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.is_written()
    }
}

/// Queues a line. Never blocks and never fails.
impl io::Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_all();
    }
}

impl Queue {
    fn is_written(&self) -> bool {
        self.lines.is_empty() && self.n_dropped == 0 && !self.is_writing
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut queue = self.lock();
        if queue.n_dropped > 0 || queue.n_bytes.saturating_add(line.len()) > self.capacity {
            queue.n_dropped += 1;
        } else {
            queue.n_bytes += line.len();
            queue.lines.push_back(line.into());
        }
        drop(queue);
        self.changed.notify_all();
    }

    /// Writes lines until the queue is closed and empty.
    fn write_lines(&self, output: &impl AsFd, note: fn(u64) -> String) {
        let mut queue = self.lock();
        loop {
            let line = if let Some(line) = queue.lines.pop_front() {
                line
            } else if queue.n_dropped > 0 {
                let line = note(std::mem::take(&mut queue.n_dropped)).into_bytes();
                queue.n_bytes += line.len();
                line.into()
            } else if queue.is_closed {
                return;
            } else {
                let waited = self.changed.wait(queue);
                queue = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            queue.is_writing = true;
            drop(queue);
            write_line(output, &line);
            queue = self.lock();
            queue.is_writing = false;
            queue.n_bytes -= line.len();
            if queue.is_written() {
                self.changed.notify_all();
            }
        }
    }
}

/// Writes a line. The error of a descriptor that cannot be written discards the line: there is nowhere to report it.
fn write_line(output: &impl AsFd, mut line: &[u8]) {
    while !line.is_empty() {
        match rustix::io::write(output, line) {
            Ok(n_written) => line = &line[n_written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut descriptors = [PollFd::new(output, PollFlags::OUT)];
                match poll(&mut descriptors, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(_) => return,
                }
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
    use std::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn start(capacity: usize) -> (LogWriter, PipeReader) {
        let (reader, writer) = io::pipe().unwrap();
        (start_with(writer, capacity), reader)
    }

    fn start_with(writer: PipeWriter, capacity: usize) -> LogWriter {
        LogWriter::start(writer, capacity, |n| format!("dropped {n}\n")).unwrap()
    }

    /// Starts with a pipe that is full of dots.
    fn start_full(capacity: usize) -> (LogWriter, PipeReader) {
        let (reader, mut writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        while writer.write(&[b'.'; 4096]).is_ok() {}
        rustix::io::ioctl_fionbio(&writer, false).unwrap();
        (start_with(writer, capacity), reader)
    }

    #[test]
    fn lines_are_written_in_order_and_the_thread_ends_with_the_last_clone() {
        let (mut log, mut reader) = start(1024);
        log.clone().write_all(b"one\n").unwrap();
        log.write_all(b"two\n").unwrap();
        drop(log);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\ntwo\n");
    }

    #[test]
    fn a_full_pipe_blocks_no_writer_and_the_dropped_lines_are_counted() {
        let (mut log, reader) = start_full(32);
        for n in 0..104 {
            log.write_all(format!("line {n:>2}\n").as_bytes()).unwrap();
        }
        assert!(!log.flush_within(Duration::ZERO));
        let mut lines = BufReader::new(reader).lines();
        let mut next = || lines.next().unwrap().unwrap();
        assert_eq!(next().trim_start_matches('.'), "line  0");
        for n in 1..4 {
            assert_eq!(next(), format!("line {n:>2}"));
        }
        assert_eq!(next(), "dropped 100");
        assert!(log.flush_within(LIMIT));
        log.write_all(b"written again\n").unwrap();
        assert_eq!(next(), "written again");
    }

    #[test]
    fn flush_is_bounded_while_the_pipe_is_full() {
        let (mut log, _reader) = start_full(64);
        log.write_all(b"one\n").unwrap();
        let started = Instant::now();
        assert!(!log.flush_within(Duration::from_millis(20)));
        assert!(started.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn a_reader_that_has_gone_discards_lines() {
        let (mut log, reader) = start(64);
        drop(reader);
        for _ in 0..10 {
            log.write_all(b"discarded\n").unwrap();
            assert!(log.flush_within(LIMIT));
        }
    }

    #[test]
    fn a_non_blocking_descriptor_is_waited_for() {
        let (reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let mut log = start_with(writer, 1 << 20);
        // More than a pipe holds.
        let line = [&[b'x'; 300_000][..], b"\n"].concat();
        log.write_all(&line).unwrap();
        let mut lines = BufReader::new(reader).lines();
        assert_eq!(lines.next().unwrap().unwrap().len(), 300_000);
    }

    #[test]
    fn a_line_above_the_capacity_is_dropped() {
        let (mut log, reader) = start(8);
        log.write_all(b"12345678\n").unwrap();
        let mut lines = BufReader::new(reader).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "dropped 1");
    }
}
