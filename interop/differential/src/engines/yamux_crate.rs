//! The `yamux` crate itself, without Keyway's adapter around it.

use std::{
    collections::VecDeque,
    io,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::oneshot,
};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt as _, TokioAsyncReadCompatExt as _};
use yamux::{Connection, ConnectionError, Mode};

use super::driven::{Command, Driven, Driver, ForeignStream, Orders};
use crate::{
    local::Local,
    outcome::{Outcome, Saw},
    script::{End, Settings},
};

/// A stream of the crate for tokio.
pub(crate) type Stream = Compat<yamux::Stream>;

/// One end on a connection. The crate has none of the settings.
pub(crate) fn yamux_crate<T>(io: T, end: End, _: &Settings) -> Local<Driven<Stream>>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mode = match end {
        End::Client => Mode::Client,
        End::Server => Mode::Server,
    };
    let worker = Worker {
        connection: Connection::new(io.compat(), yamux::Config::default(), mode),
        opening: VecDeque::new(),
        is_closing: false,
    };
    Driven::local(end, worker)
}

impl ForeignStream for Stream {
    const GOES_AWAY: bool = false;

    fn id(&self) -> u32 {
        self.get_ref().id().val()
    }

    /// The crate says `WriteZero` whatever the reason is, and never reports a reset.
    fn explain(error: &io::Error) -> Saw {
        match error.kind() {
            io::ErrorKind::WriteZero => Saw::Closed,
            _ => Saw::Other,
        }
    }
}

/// What polls the connection: there may be one caller only.
struct Worker<T> {
    connection: Connection<Compat<T>>,
    opening: VecDeque<oneshot::Sender<Result<Stream, Outcome>>>,
    is_closing: bool,
}

fn failed(error: ConnectionError) -> Outcome {
    match error {
        ConnectionError::Closed => Outcome::of(Saw::Done),
        error => Outcome::of(Saw::Lost).saying(error),
    }
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Worker<T> {
    fn take(&mut self, orders: &mut Orders<Stream>, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(command)) = orders.commands.poll_recv(cx) {
            match command {
                Command::Open(answer) => self.opening.push_back(answer),
                Command::Close => self.is_closing = true,
                // It cannot say so, and nobody orders it.
                Command::GoAway => {}
            }
        }
    }

    fn open(&mut self, cx: &mut Context<'_>) {
        while !self.opening.is_empty() {
            let Poll::Ready(opened) = self.connection.poll_new_outbound(cx) else {
                return;
            };
            let opened = opened.map(|stream| stream.compat());
            let opened = opened.map_err(|error| Outcome::of(Saw::Lost).saying(error));
            if let Some(answer) = self.opening.pop_front() {
                // Whoever asked may have given up.
                let _ = answer.send(opened);
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Driver<Stream> for Worker<T> {
    fn poll(&mut self, orders: &mut Orders<Stream>, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.take(orders, cx);
        if self.is_closing {
            let closed = self.connection.poll_close(cx);
            return closed.map(|closed| closed.map_or_else(failed, |()| Outcome::of(Saw::Done)));
        }
        self.open(cx);
        loop {
            match std::task::ready!(self.connection.poll_next_inbound(cx)) {
                Some(Ok(stream)) => orders.offer(stream.compat()),
                Some(Err(error)) => return Poll::Ready(failed(error)),
                None => return Poll::Ready(Outcome::of(Saw::Done)),
            }
        }
    }
}
