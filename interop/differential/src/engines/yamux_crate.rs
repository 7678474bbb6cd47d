//! The `yamux` crate itself, without Keyway's adapter around it.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
};

use futures::io::{AsyncRead as _, AsyncWrite as _};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{Mutex as AsyncMutex, mpsc, oneshot, watch},
};
use yamux::{Connection, Mode};

use crate::{
    local::Local,
    multiplexer::Multiplexer,
    outcome::{Outcome, Saw},
    script::{End, Settings},
};

/// One end on a connection. The crate has none of the settings.
pub(crate) fn yamux_crate<T>(io: T, end: End, _: &Settings) -> Local<YamuxCrate>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mode = match end {
        End::Client => Mode::Client,
        End::Server => Mode::Server,
    };
    let (commands, inbox) = mpsc::unbounded_channel();
    let (offers, offered) = mpsc::unbounded_channel();
    let (ended, ending) = watch::channel(None);
    let mut driver = Driver {
        connection: Connection::new(Both(io), yamux::Config::default(), mode),
        inbox,
        offers,
        opening: VecDeque::new(),
        is_closing: false,
    };
    let engine = YamuxCrate {
        commands,
        offered: AsyncMutex::new(offered),
        ending: Mutex::new(ending),
    };
    Local::new(end, engine, async move {
        let outcome = std::future::poll_fn(|cx| driver.poll(cx)).await;
        // Nobody may be left to hear it.
        let _ = ended.send(Some(outcome));
    })
}

enum Command {
    Open(oneshot::Sender<Result<YamuxStream, Outcome>>),
    Close,
}

/// A connection of the `yamux` crate.
pub(crate) struct YamuxCrate {
    commands: mpsc::UnboundedSender<Command>,
    offered: AsyncMutex<mpsc::UnboundedReceiver<YamuxStream>>,
    ending: Mutex<watch::Receiver<Option<Outcome>>>,
}

impl Multiplexer for YamuxCrate {
    type Stream = YamuxStream;

    const FLUSHES: bool = true;

    fn id(stream: &YamuxStream) -> u32 {
        stream.0.id().val()
    }

    async fn open(&self) -> Result<YamuxStream, Outcome> {
        let (answer, opened) = oneshot::channel();
        let lost = || Outcome::of(Saw::Lost);
        let sent = self.commands.send(Command::Open(answer));
        sent.map_err(|_| lost())?;
        opened.await.map_err(|_| lost())?
    }

    async fn accept(&self) -> Option<YamuxStream> {
        self.offered.lock().await.recv().await
    }

    fn reset(_: YamuxStream) -> Outcome {
        Outcome::of(Saw::Unsupported)
    }

    fn go_away(&self) -> Outcome {
        Outcome::of(Saw::Unsupported)
    }

    async fn close(&self) -> Outcome {
        if self.commands.send(Command::Close).is_err() {
            return Outcome::of(Saw::Lost);
        }
        self.ended().await
    }

    async fn ended(&self) -> Outcome {
        let mut ending = {
            let ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
            ending.clone()
        };
        let outcome = ending.wait_for(Option::is_some).await;
        let outcome = outcome.map(|outcome| outcome.clone());
        outcome.ok().flatten().unwrap_or(Outcome::of(Saw::Lost))
    }

    fn open_streams(&self) -> Option<usize> {
        None
    }

    /// The crate says `WriteZero` whatever the reason is, and never reports a reset.
    fn explain(error: &io::Error) -> Outcome {
        let saw = match error.kind() {
            io::ErrorKind::WriteZero => Saw::Closed,
            _ => Saw::Other,
        };
        Outcome::of(saw).saying(error)
    }
}

/// What polls the connection: there may be one caller only.
struct Driver<T> {
    connection: Connection<Both<T>>,
    inbox: mpsc::UnboundedReceiver<Command>,
    offers: mpsc::UnboundedSender<YamuxStream>,
    opening: VecDeque<oneshot::Sender<Result<YamuxStream, Outcome>>>,
    is_closing: bool,
}

fn failed(error: yamux::ConnectionError) -> Outcome {
    match error {
        yamux::ConnectionError::Closed => Outcome::of(Saw::Done),
        error => Outcome::of(Saw::Lost).saying(error),
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        while let Poll::Ready(Some(command)) = self.inbox.poll_recv(cx) {
            match command {
                Command::Open(answer) => self.opening.push_back(answer),
                Command::Close => self.is_closing = true,
            }
        }
        if self.is_closing {
            let closed = self.connection.poll_close(cx);
            return closed.map(|closed| closed.map_or_else(failed, |()| Outcome::of(Saw::Done)));
        }
        while !self.opening.is_empty() {
            let Poll::Ready(opened) = self.connection.poll_new_outbound(cx) else {
                break;
            };
            let opened = opened.map(YamuxStream);
            let opened = opened.map_err(|error| Outcome::of(Saw::Lost).saying(error));
            if let Some(answer) = self.opening.pop_front() {
                // Whoever asked may have given up.
                let _ = answer.send(opened);
            }
        }
        loop {
            match std::task::ready!(self.connection.poll_next_inbound(cx)) {
                // Without a receiver the stream is dropped, as it must be.
                Some(Ok(stream)) => drop(self.offers.send(YamuxStream(stream))),
                Some(Err(error)) => return Poll::Ready(failed(error)),
                None => return Poll::Ready(Outcome::of(Saw::Done)),
            }
        }
    }
}

/// A stream of the crate for tokio.
pub(crate) struct YamuxStream(yamux::Stream);

impl AsyncRead for YamuxStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.0).poll_read(cx, buffer.initialize_unfilled());
        read.map_ok(|count| buffer.advance(count))
    }
}

impl AsyncWrite for YamuxStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

/// A connection of tokio for the crate.
struct Both<T>(T);

impl<T: AsyncRead + Unpin> futures::io::AsyncRead for Both<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let read = Pin::new(&mut self.0).poll_read(cx, &mut buffer);
        read.map_ok(|()| buffer.filled().len())
    }
}

impl<T: AsyncWrite + Unpin> futures::io::AsyncWrite for Both<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
