//! The thread that writes the audit log, and the bounded queue in front of it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use keyway_local::with_causes;
use tokio::sync::oneshot;

use super::file::LogFile;
use crate::config::{AuditConfig, AuditFailure};

/// The most bytes that wait for the disk: some thousand records.
const MAX_QUEUED_LEN: usize = 1024 * 1024;

/// Queues records for a thread of its own, which writes all that came together. The thread ends when the writer was dropped and the
/// queue is written.
#[derive(Debug)]
pub(super) struct Writer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: AuditConfig,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    batch: Batch,
    /// The records that were lost since the last that was written.
    n_lost: u64,
    /// `true` if records are lost now, which was logged.
    is_failing: bool,
    is_closed: bool,
}

/// Records that are written together.
#[derive(Debug, Default)]
struct Batch {
    lines: Vec<u8>,
    n_lines: u64,
    /// Those whose record must be written: sent to when it is, dropped when it cannot be.
    waiting: Vec<oneshot::Sender<()>>,
}

impl Writer {
    /// Starts the thread. If that fails, every record is lost.
    pub(super) fn start(config: AuditConfig) -> Self {
        let writer = Self::without_thread(config);
        let shared = Arc::clone(&writer.0);
        let started = thread::Builder::new()
            .name("audit".into())
            .spawn(move || shared.serve());
        if let Err(error) = started {
            writer.0.lock().is_closed = true;
            writer.0.failed(&with_causes(&error), 0);
        }
        writer
    }

    fn without_thread(config: AuditConfig) -> Self {
        Self(Arc::new(Shared {
            config,
            queue: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    /// Returns a writer whose disk hangs.
    #[cfg(test)]
    pub(super) fn hung(config: AuditConfig) -> Self {
        Self::without_thread(config)
    }

    /// Queues a line. If requests are refused without their record, returns a future that resolves when it is written.
    pub(super) fn push(&self, line: &[u8]) -> Option<oneshot::Receiver<()>> {
        match self.0.config.on_failure {
            AuditFailure::Refuse => Some(self.push_and_wait(line)),
            AuditFailure::Continue => {
                self.0.push(line, None);
                None
            }
        }
    }

    /// Queues a line, and returns a future that resolves when it is written; with an error if it is lost.
    pub(super) fn push_and_wait(&self, line: &[u8]) -> oneshot::Receiver<()> {
        let (written, waiting) = oneshot::channel();
        self.0.push(line, Some(written));
        waiting
    }

    /// Notes that a record was waited for in vain.
    pub(super) fn stalled(&self) {
        self.0.failed("the disk does not take it", 0);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Every change is complete when a panic could happen.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8], waiting: Option<oneshot::Sender<()>>) {
        let mut queue = self.lock();
        if queue.is_closed || queue.batch.lines.len() + line.len() > MAX_QUEUED_LEN {
            drop(queue);
            return self.failed("the disk does not take it", 1);
        }
        queue.batch.lines.extend_from_slice(line);
        queue.batch.n_lines += 1;
        queue.batch.waiting.extend(waiting);
        // The thread takes all that is there, so it is woken for the first record only.
        if queue.batch.n_lines == 1 {
            drop(queue);
            self.changed.notify_one();
        }
    }

    fn serve(&self) {
        let mut file = LogFile::new(self.config.clone());
        // A fault of the file is reported before the first record.
        if let Err(error) = file.open() {
            self.failed(&with_causes(&error), 0);
        }
        let mut batch = Batch::default();
        while self.take(&mut batch) {
            match file.append(&batch.lines) {
                Ok(()) => {
                    for waiting in batch.waiting.drain(..) {
                        // The request may have been cancelled.
                        let _ = waiting.send(());
                    }
                    self.written();
                }
                Err(error) => self.failed(&with_causes(&error), batch.n_lines),
            }
        }
    }

    /// Waits for records and swaps them with those that were handled; `false` if there are none and the writer was dropped.
    fn take(&self, batch: &mut Batch) -> bool {
        batch.lines.clear();
        batch.n_lines = 0;
        batch.waiting.clear();
        let is_idle = |queue: &mut Queue| queue.batch.n_lines == 0 && !queue.is_closed;
        let waited = self.changed.wait_while(self.lock(), is_idle);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut queue.batch, batch);
        batch.n_lines > 0
    }

    /// Notes that records are lost, and logs that it begins.
    fn failed(&self, error: &str, n_lost: u64) {
        let mut queue = self.lock();
        queue.n_lost += n_lost;
        if !std::mem::replace(&mut queue.is_failing, true) {
            drop(queue);
            let path = self.config.path.display();
            tracing::error!(%path, %error, "audit log not written");
        }
    }

    fn written(&self) {
        let mut queue = self.lock();
        if std::mem::take(&mut queue.is_failing) {
            let n_lost = std::mem::take(&mut queue.n_lost);
            drop(queue);
            let path = self.config.path.display();
            tracing::warn!(%path, n_lost, "audit log is written again");
        }
    }
}
