//! An engine on the `yamux` crate.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Mutex, mpsc, oneshot, watch},
};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt as _, TokioAsyncReadCompatExt as _};
use yamux::{Connection, ConnectionError, Mode};

use crate::{config::Role, engine::Engine};

/// How many streams of the peer may wait to be accepted; more are dropped.
const BACKLOG: usize = 256;

/// How many opens may wait for the driver.
const OPENS: usize = 256;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What went wrong in a session on the `yamux` crate.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum YamuxError {
    /// The session is over, or its driver is gone.
    #[error("the session is closed")]
    Closed,
    /// The `yamux` crate gave up.
    #[error("the session has failed")]
    Connection(#[source] Arc<ConnectionError>),
}

impl From<ConnectionError> for YamuxError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::Closed => Self::Closed,
            error => Self::Connection(Arc::new(error)),
        }
    }
}

/// One stream of a [`YamuxSession`].
#[derive(Debug)]
pub struct YamuxStream {
    pub(super) inner: Compat<yamux::Stream>,
}

impl YamuxStream {
    fn new(stream: yamux::Stream) -> Self {
        Self {
            inner: stream.compat(),
        }
    }
}

enum Command {
    Open(oneshot::Sender<Result<YamuxStream, YamuxError>>),
    Close,
}

/// How a session ended, once it has.
type Ending = Option<Result<(), YamuxError>>;

/// One end of a session on the `yamux` crate. Clones are handles of the same session.
#[derive(Clone)]
pub struct YamuxSession {
    commands: mpsc::Sender<Command>,
    offered: Arc<Mutex<mpsc::Receiver<YamuxStream>>>,
    ending: watch::Receiver<Ending>,
}

impl YamuxSession {
    /// Starts a session on a connection. Nothing happens until the [`YamuxDriver`] is polled.
    pub fn new<T>(io: T, role: Role) -> (Self, YamuxDriver)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mode = match role {
            Role::Client => Mode::Client,
            Role::Server => Mode::Server,
        };
        let connection = Connection::new(io.compat(), yamux::Config::default(), mode);
        let (commands, inbox) = mpsc::channel(OPENS);
        let (offers, offered) = mpsc::channel(BACKLOG);
        let (ended, ending) = watch::channel(None);
        let worker = Worker {
            connection,
            inbox,
            offers,
            opening: VecDeque::new(),
            ended,
            is_closing: false,
        };
        let offered = Arc::new(Mutex::new(offered));
        (
            Self {
                commands,
                offered,
                ending,
            },
            YamuxDriver {
                worker: Box::new(worker),
            },
        )
    }
}

impl fmt::Debug for YamuxSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("YamuxSession").finish_non_exhaustive()
    }
}

/// A future of the second engine. The one that accepts can be polled again after each stream.
pub struct YamuxFuture<T> {
    make: Box<dyn Fn() -> BoxFuture<T> + Send>,
    current: Option<BoxFuture<T>>,
}

impl<T> YamuxFuture<T> {
    fn new(make: impl Fn() -> BoxFuture<T> + Send + 'static) -> Self {
        Self {
            make: Box::new(make),
            current: None,
        }
    }
}

impl<T> Future for YamuxFuture<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Self { make, current } = &mut *self;
        let result = current.get_or_insert_with(make).as_mut().poll(cx);
        if result.is_ready() {
            *current = None;
        }
        result
    }
}

impl<T> fmt::Debug for YamuxFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("YamuxFuture").finish_non_exhaustive()
    }
}

impl Engine for YamuxSession {
    type Stream = YamuxStream;
    type OpenError = YamuxError;
    type AcceptError = YamuxError;
    type CloseError = YamuxError;
    type Opening = YamuxFuture<Result<YamuxStream, YamuxError>>;
    type Accepting = YamuxFuture<Result<YamuxStream, YamuxError>>;
    type Closed = YamuxFuture<Result<(), YamuxError>>;

    fn open(&self) -> Self::Opening {
        let commands = self.commands.clone();
        YamuxFuture::new(move || {
            let commands = commands.clone();
            Box::pin(async move {
                let (answer, opened) = oneshot::channel();
                let sent = commands.send(Command::Open(answer)).await;
                sent.map_err(|_| YamuxError::Closed)?;
                opened.await.map_err(|_| YamuxError::Closed)?
            })
        })
    }

    fn accept(&self) -> Self::Accepting {
        let offered = Arc::clone(&self.offered);
        YamuxFuture::new(move || {
            let offered = Arc::clone(&offered);
            Box::pin(async move { offered.lock().await.recv().await.ok_or(YamuxError::Closed) })
        })
    }

    fn close(&self) -> Self::Closed {
        // A full inbox belongs to a driver that is stuck, which no command could close.
        if self.commands.try_send(Command::Close).is_err() {
            tracing::debug!("the driver of the session takes no commands");
        }
        self.closed()
    }

    fn closed(&self) -> Self::Closed {
        let ending = self.ending.clone();
        YamuxFuture::new(move || {
            let mut ending = ending.clone();
            Box::pin(async move {
                let outcome = ending.wait_for(Option::is_some).await;
                outcome
                    .map_err(|_| YamuxError::Closed)?
                    .clone()
                    .unwrap_or(Ok(()))
            })
        })
    }

    fn is_clean(error: &YamuxError) -> bool {
        matches!(error, YamuxError::Closed)
    }
}

/// The future that runs a [`YamuxSession`].
#[must_use = "a session does nothing unless its driver is polled"]
pub struct YamuxDriver {
    worker: Box<dyn Work>,
}

trait Work: Send {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), YamuxError>>;
}

impl Future for YamuxDriver {
    type Output = Result<(), YamuxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.worker.poll(cx)
    }
}

impl fmt::Debug for YamuxDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("YamuxDriver").finish_non_exhaustive()
    }
}

struct Worker<T> {
    connection: Connection<Compat<T>>,
    inbox: mpsc::Receiver<Command>,
    offers: mpsc::Sender<YamuxStream>,
    opening: VecDeque<oneshot::Sender<Result<YamuxStream, YamuxError>>>,
    ended: watch::Sender<Ending>,
    is_closing: bool,
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Work for Worker<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), YamuxError>> {
        self.take_commands(cx);
        let outcome = if self.is_closing {
            self.connection.poll_close(cx).map_err(Into::into)
        } else {
            self.open(cx);
            self.receive(cx)
        };
        if let Poll::Ready(outcome) = &outcome {
            self.opening.clear();
            self.ended.send_replace(Some(outcome.clone()));
        }
        outcome
    }
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Worker<T> {
    fn take_commands(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(command) = self.inbox.poll_recv(cx) {
            match command {
                Some(Command::Open(answer)) => self.opening.push_back(answer),
                Some(Command::Close) | None => {
                    self.is_closing = true;
                    return;
                }
            }
        }
    }

    fn open(&mut self, cx: &mut Context<'_>) {
        while !self.opening.is_empty() {
            let Poll::Ready(opened) = self.connection.poll_new_outbound(cx) else {
                return;
            };
            let opened = opened.map(YamuxStream::new).map_err(Into::into);
            if let Some(answer) = self.opening.pop_front()
                && answer.send(opened).is_err()
            {
                tracing::trace!("nobody waits for the opened stream any more");
            }
        }
    }

    fn receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), YamuxError>> {
        loop {
            match self.connection.poll_next_inbound(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Ready(Some(Err(error))) => {
                    let error = YamuxError::from(error);
                    let is_clean = matches!(error, YamuxError::Closed);
                    return Poll::Ready(if is_clean { Ok(()) } else { Err(error) });
                }
                Poll::Ready(Some(Ok(stream))) => {
                    if self.offers.try_send(YamuxStream::new(stream)).is_err() {
                        tracing::debug!("dropped a stream: nobody accepts");
                    }
                }
            }
        }
    }
}
