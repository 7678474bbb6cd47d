//! The `yamux` crate itself, without `keyway-yamux-engine`.

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

use super::driven::{Command, Driven, Driver, ForeignStream, Inbox};
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
    const SENDS_GO_AWAY: bool = false;

    fn id(&self) -> u32 {
        self.get_ref().id().val()
    }

    /// The crate returns `WriteZero` for every failure, and never reports a reset.
    fn explain(error: &io::Error) -> Saw {
        match error.kind() {
            io::ErrorKind::WriteZero => Saw::Closed,
            _ => Saw::Other,
        }
    }
}

/// The driver of the connection, which has one caller.
struct Worker<T> {
    connection: Connection<Compat<T>>,
    opening: VecDeque<oneshot::Sender<Result<Stream, Outcome>>>,
    is_closing: bool,
}

fn failed(error: ConnectionError) -> Outcome {
    match error {
        ConnectionError::Closed => Outcome::of(Saw::Done),
        error => Outcome::of(Saw::Lost).with_text(error),
    }
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Worker<T> {
    fn take(&mut self, inbox: &mut Inbox<Stream>, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(command)) = inbox.commands.poll_recv(cx) {
            match command {
                Command::Open(reply) => self.opening.push_back(reply),
                Command::Close => self.is_closing = true,
                // Unsupported, and never sent.
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
            let opened = opened.map_err(|error| Outcome::of(Saw::Lost).with_text(error));
            if let Some(reply) = self.opening.pop_front() {
                // The caller may have been cancelled.
                let _ = reply.send(opened);
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Driver<Stream> for Worker<T> {
    fn poll(&mut self, inbox: &mut Inbox<Stream>, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.take(inbox, cx);
        if self.is_closing {
            let closed = self.connection.poll_close(cx);
            return closed.map(|closed| closed.map_or_else(failed, |()| Outcome::of(Saw::Done)));
        }
        self.open(cx);
        loop {
            match std::task::ready!(self.connection.poll_next_inbound(cx)) {
                Some(Ok(stream)) => inbox.enqueue(stream.compat()),
                Some(Err(error)) => return Poll::Ready(failed(error)),
                None => return Poll::Ready(Outcome::of(Saw::Done)),
            }
        }
    }
}
