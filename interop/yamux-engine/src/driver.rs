//! The future that polls the connection of the `yamux` crate, which one task alone may do.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, oneshot, watch},
};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt as _, TokioAsyncReadCompatExt as _};
use yamux::{Connection, Mode};

use crate::{YamuxError, YamuxStream};

/// A command of a handle to the driver.
pub(crate) enum Command {
    /// Open a stream.
    Open(oneshot::Sender<Result<YamuxStream, YamuxError>>),
    /// Close the session.
    Close,
}

/// The end of a session, once it has ended.
pub(crate) type Ending = Option<Result<(), YamuxError>>;

/// The future that runs a [`YamuxSession`](crate::YamuxSession). Resolves at the end of the session.
#[must_use = "a session does nothing unless its driver is polled"]
pub struct YamuxDriver {
    worker: Box<dyn Work>,
}

impl YamuxDriver {
    pub(crate) fn new<T>(
        io: T,
        mode: Mode,
        inbox: mpsc::Receiver<Command>,
        offers: mpsc::Sender<YamuxStream>,
        ended: watch::Sender<Ending>,
    ) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let worker = Worker {
            connection: Connection::new(io.compat(), yamux::Config::default(), mode),
            inbox,
            offers,
            opening: VecDeque::new(),
            ended,
            is_closing: false,
        };
        Self {
            worker: Box::new(worker),
        }
    }
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

/// A worker of any connection.
trait Work: Send {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), YamuxError>>;
}

struct Worker<T> {
    connection: Connection<Compat<T>>,
    inbox: mpsc::Receiver<Command>,
    offers: mpsc::Sender<YamuxStream>,
    /// The `open` calls that wait for the connection.
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
                Some(Command::Open(reply)) => self.opening.push_back(reply),
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
            let opened = opened.map(|stream| stream.compat()).map_err(Into::into);
            if let Some(reply) = self.opening.pop_front()
                && reply.send(opened).is_err()
            {
                tracing::trace!("an `open` call was cancelled after its stream was opened");
            }
        }
    }

    fn receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), YamuxError>> {
        loop {
            match std::task::ready!(self.connection.poll_next_inbound(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Err(error)) => {
                    return Poll::Ready(match YamuxError::from(error) {
                        YamuxError::Closed => Ok(()),
                        error => Err(error),
                    });
                }
                Some(Ok(stream)) => {
                    if self.offers.try_send(stream.compat()).is_err() {
                        tracing::debug!("dropped a stream of the peer: the accept queue is full");
                    }
                }
            }
        }
    }
}
