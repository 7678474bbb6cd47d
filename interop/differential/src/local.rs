//! The application on a multiplexer in this process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::{Mutex as AsyncMutex, Notify},
    task::{AbortHandle, JoinSet},
};

use crate::{
    actor::{Act, Actor, Performed, Performing},
    content,
    multiplexer::Multiplexer,
    outcome::{Outcome, Saw},
    script::{End, Pace},
};

/// The most bytes of one write.
const WRITE: usize = 1 << 20;

/// The most bytes of one read of a reader without a pace.
const READ: usize = 1 << 16;

/// A stream in two halves, for two tasks.
struct Held<S> {
    reader: AsyncMutex<Half<ReadHalf<S>>>,
    writer: AsyncMutex<Half<WriteHalf<S>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Held<S> {
    /// The stream in one piece.
    fn whole(self) -> S {
        let (reader, writer) = (self.reader.into_inner(), self.writer.into_inner());
        reader.io.unsplit(writer.io)
    }
}

/// One half, and the number of bytes that it has moved.
struct Half<T> {
    io: T,
    position: u64,
}

struct Streams<S> {
    held: HashMap<u32, Arc<Held<S>>>,
    is_over: bool,
}

struct Shared<E: Multiplexer> {
    multiplexer: E,
    end: End,
    streams: Mutex<Streams<E::Stream>>,
    arrived: Notify,
}

/// One end of a session on `E`, with its driver.
pub(crate) struct Local<E: Multiplexer> {
    shared: Arc<Shared<E>>,
    tasks: Mutex<JoinSet<()>>,
    driver: AbortHandle,
}

impl<E: Multiplexer> Local<E> {
    /// Creates an actor of a multiplexer and the future that drives it.
    pub(crate) fn new(
        end: End,
        multiplexer: E,
        driver: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let shared = Shared {
            multiplexer,
            end,
            streams: Mutex::new(Streams {
                held: HashMap::new(),
                is_over: false,
            }),
            arrived: Notify::new(),
        };
        let mut tasks = JoinSet::new();
        let driver = tasks.spawn(driver);
        Self {
            shared: Arc::new(shared),
            tasks: Mutex::new(tasks),
            driver,
        }
    }
}

impl<E: Multiplexer> Drop for Local<E> {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl<E: Multiplexer> Actor for Local<E> {
    fn perform(&self, act: Act) -> Performing<'_> {
        if matches!(act, Act::Accepting) {
            let shared = Arc::clone(&self.shared);
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            tasks.spawn(async move { shared.accepting().await });
            return Box::pin(async { Outcome::of(Saw::Done).into() });
        }
        let shared = &self.shared;
        Box::pin(async move {
            match act {
                Act::Open { flush } => shared.open(flush).await,
                Act::OpenRefused => shared.open_refused().await.into(),
                Act::GoAway => shared.multiplexer.go_away().into(),
                Act::Close => shared.multiplexer.close().await.into(),
                Act::Ended => shared.multiplexer.ended().await.into(),
                Act::NoMoreStreams => shared.no_more_streams().await.into(),
                Act::OpenStreams => shared.open_streams().into(),
                act => shared.on_stream(act).await.into(),
            }
        })
    }
}

impl<E: Multiplexer> Shared<E> {
    fn with<T>(&self, action: impl FnOnce(&mut Streams<E::Stream>) -> T) -> T {
        action(&mut self.streams.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn find(&self, id: u32) -> Option<Arc<Held<E::Stream>>> {
        self.with(|streams| streams.held.get(&id).cloned())
    }

    fn keep(&self, stream: E::Stream) -> u32 {
        let id = E::id(&stream);
        let (reader, writer) = tokio::io::split(stream);
        let held = Held {
            reader: AsyncMutex::new(Half::new(reader)),
            writer: AsyncMutex::new(Half::new(writer)),
        };
        self.with(|streams| streams.held.insert(id, Arc::new(held)));
        id
    }

    async fn accepting(&self) {
        while let Some(stream) = self.multiplexer.accept().await {
            self.keep(stream);
            self.arrived.notify_waiters();
        }
        self.with(|streams| streams.is_over = true);
        self.arrived.notify_waiters();
    }

    async fn open(&self, flush: bool) -> Performed {
        let mut stream = match self.multiplexer.open().await {
            Ok(stream) => stream,
            Err(outcome) => return outcome.into(),
        };
        if flush && let Err(error) = stream.flush().await {
            return E::explain(&error).into();
        }
        Performed {
            stream: Some(self.keep(stream)),
            outcome: Outcome::of(Saw::Done),
        }
    }

    /// The refusal of a stream may be reported at once or by the first read.
    async fn open_refused(&self) -> Outcome {
        let mut stream = match self.multiplexer.open().await {
            Ok(stream) => stream,
            Err(outcome) => return outcome,
        };
        match stream.read(&mut [0]).await {
            Ok(0) => Outcome::of(Saw::End),
            Ok(_) => Outcome::of(Saw::Done),
            Err(error) => E::explain(&error),
        }
    }

    fn open_streams(&self) -> Outcome {
        match self.multiplexer.open_streams() {
            Some(count) => Outcome::after(count as u64, Saw::Done),
            None => Outcome::of(Saw::Unsupported),
        }
    }

    async fn accept(&self, id: u32) -> Outcome {
        self.arrival(|streams| {
            if streams.held.contains_key(&id) {
                return Some(Outcome::of(Saw::Done));
            }
            streams.is_over.then(|| Outcome::of(Saw::Lost))
        })
        .await
    }

    async fn no_more_streams(&self) -> Outcome {
        self.arrival(|streams| streams.is_over.then(|| Outcome::of(Saw::Done)))
            .await
    }

    /// Waits for an effect of the accepting task.
    async fn arrival(&self, look: impl Fn(&Streams<E::Stream>) -> Option<Outcome>) -> Outcome {
        loop {
            let mut arrived = std::pin::pin!(self.arrived.notified());
            arrived.as_mut().enable();
            if let Some(outcome) = self.with(|streams| look(streams)) {
                return outcome;
            }
            arrived.await;
        }
    }

    async fn on_stream(&self, act: Act) -> Outcome {
        let id = match act {
            Act::Accept(id) => return self.accept(id).await,
            Act::Write(id, _)
            | Act::Read(id, ..)
            | Act::ReadEnd(id, _)
            | Act::Finish(id)
            | Act::Reset(id)
            | Act::Drop(id) => id,
            _ => return Outcome::of(Saw::Unsupported).with_text("it is not about a stream"),
        };
        let Some(held) = self.find(id) else {
            return Outcome::of(Saw::Unknown);
        };
        let end = self.end;
        match act {
            Act::Write(_, bytes) => held.writer.lock().await.write::<E>(id, end, bytes).await,
            Act::Read(_, bytes, pace) => {
                let mut reader = held.reader.lock().await;
                reader.read::<E>(id, end, Some(bytes), pace).await
            }
            Act::ReadEnd(_, pace) => {
                let mut reader = held.reader.lock().await;
                reader.read::<E>(id, end, None, pace).await
            }
            Act::Finish(_) => outcome::<E>(held.writer.lock().await.io.shutdown().await),
            _ => {
                self.with(|streams| streams.held.remove(&id));
                let is_reset = matches!(act, Act::Reset(_));
                let stream = Arc::into_inner(held).map(Held::whole);
                match stream {
                    Some(stream) if is_reset => E::reset(stream),
                    Some(_) => Outcome::of(Saw::Done),
                    None => Outcome::of(Saw::Other).with_text("the stream is in use"),
                }
            }
        }
    }
}

fn outcome<E: Multiplexer>(result: std::io::Result<()>) -> Outcome {
    match result {
        Ok(()) => Outcome::of(Saw::Done),
        Err(error) => E::explain(&error),
    }
}

impl<T> Half<T> {
    fn new(io: T) -> Self {
        Self { io, position: 0 }
    }
}

impl<S: AsyncWrite> Half<WriteHalf<S>> {
    async fn write<E: Multiplexer<Stream = S>>(
        &mut self,
        id: u32,
        end: End,
        bytes: usize,
    ) -> Outcome {
        let mut buffer = vec![0; bytes.min(WRITE)];
        let mut left = bytes;
        while left > 0 {
            let part = left.min(buffer.len());
            let part = &mut buffer[..part];
            content::fill(part, id, end, self.position);
            if let Err(error) = self.io.write_all(part).await {
                return E::explain(&error);
            }
            self.position += part.len() as u64;
            left -= part.len();
        }
        if E::FLUSHES {
            return outcome::<E>(self.io.flush().await);
        }
        Outcome::of(Saw::Done)
    }
}

impl<S: AsyncRead> Half<ReadHalf<S>> {
    /// Reads so many bytes, or everything up to the end.
    async fn read<E: Multiplexer<Stream = S>>(
        &mut self,
        id: u32,
        end: End,
        bytes: Option<usize>,
        pace: Pace,
    ) -> Outcome {
        let (size, pause) = match pace {
            Pace::Fast => (READ, None),
            Pace::Slow { chunk, pause } => (chunk, Some(Duration::from_millis(pause))),
        };
        let mut buffer = vec![0; size];
        let mut total = 0;
        while bytes.is_none_or(|bytes| total < bytes) {
            let limit = bytes.map_or(size, |bytes| size.min(bytes - total));
            let count = match self.io.read(&mut buffer[..limit]).await {
                Ok(0) => return Outcome::after(total as u64, Saw::End),
                Ok(count) => count,
                Err(error) => {
                    let mut outcome = E::explain(&error);
                    outcome.bytes = total as u64;
                    return outcome;
                }
            };
            if !content::is_right(&buffer[..count], id, end.other(), self.position) {
                return Outcome::after(self.position, Saw::Wrong);
            }
            self.position += count as u64;
            total += count;
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
        }
        Outcome::after(total as u64, Saw::Done)
    }
}
