//! The `tokio-yamux` crate.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::Stream as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_yamux::{Config, Error, Session, StreamHandle, session::SessionType};

use super::driven::{Command, Driven, Driver, ForeignStream, Inbox};
use crate::{
    local::Local,
    outcome::{Outcome, Saw},
    script::{End, Settings},
};

/// One end on a connection.
pub(crate) fn tokio_yamux<T>(io: T, end: End, settings: &Settings) -> Local<Driven<StreamHandle>>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let kind = match end {
        End::Client => SessionType::Client,
        End::Server => SessionType::Server,
    };
    let config = Config {
        accept_backlog: settings.accept_queue[end.index()],
        keepalive_interval: Duration::from_millis(settings.keep_alive),
        max_stream_window_size: settings.window,
        ..Config::default()
    };
    Driven::local(end, Session::new(io, config, kind))
}

impl ForeignStream for StreamHandle {
    const SENDS_GO_AWAY: bool = true;

    fn id(&self) -> u32 {
        self.id()
    }

    fn explain(error: &io::Error) -> Saw {
        match error.kind() {
            io::ErrorKind::ConnectionReset => Saw::Reset,
            io::ErrorKind::BrokenPipe => Saw::Closed,
            _ => Saw::Other,
        }
    }
}

fn refused(error: Error) -> Outcome {
    let saw = match error {
        Error::RemoteGoAway => Saw::Refused,
        Error::SessionShutdown => Saw::Lost,
        _ => Saw::Other,
    };
    Outcome::of(saw).with_text(error)
}

impl<T> Driver<StreamHandle> for Session<T>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    fn poll(&mut self, inbox: &mut Inbox<StreamHandle>, cx: &mut Context<'_>) -> Poll<Outcome> {
        while let Poll::Ready(Some(command)) = inbox.commands.poll_recv(cx) {
            let done = match command {
                Command::Open(reply) => {
                    // The caller may have been cancelled.
                    let _ = reply.send(self.open_stream().map_err(refused));
                    Ok(())
                }
                Command::GoAway => self.send_go_away(cx),
                Command::Close => self.shutdown(cx),
            };
            if let Err(error) = done {
                return Poll::Ready(Outcome::of(Saw::Lost).with_text(error));
            }
        }
        loop {
            match std::task::ready!(Pin::new(&mut *self).poll_next(cx)) {
                Some(Ok(stream)) => inbox.enqueue(stream),
                Some(Err(error)) => return Poll::Ready(Outcome::of(Saw::Lost).with_text(error)),
                None => return Poll::Ready(Outcome::of(Saw::Done)),
            }
        }
    }
}
