//! `keyway-mux`.

use std::{io, time::Duration};

use keyway_mux::{Config, OpenError, Session, SessionError, Stream, StreamError};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    local::Local,
    multiplexer::Multiplexer,
    outcome::{Outcome, Saw},
    script::{End, Settings},
};

/// One end on a connection.
pub(crate) fn native<T>(io: T, end: End, settings: &Settings) -> Local<Native>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let config = Config::new()
        .accept_backlog(settings.accept_queue[end.index()])
        .keep_alive(Some(Duration::from_millis(settings.keep_alive)))
        .max_stream_window(settings.window)
        .drain_timeout(Duration::from_millis(settings.drain));
    let (session, driver) = match end {
        End::Client => Session::client(io, config),
        End::Server => Session::server(io, config),
    };
    Local::new(end, Native(session), async {
        // `Session::closed` returns the outcome.
        let _ = driver.await;
    })
}

/// A session of `keyway-mux`.
pub(crate) struct Native(Session);

impl Multiplexer for Native {
    type Stream = Stream;

    const FLUSHES: bool = false;

    fn id(stream: &Stream) -> u32 {
        stream.id().get()
    }

    async fn open(&self) -> Result<Stream, Outcome> {
        self.0.open().await.map_err(|error| {
            let saw = match &error {
                OpenError::RemoteGoAway => Saw::Refused,
                OpenError::Closed | OpenError::Session(_) => Saw::Lost,
                _ => Saw::Other,
            };
            Outcome::of(saw).because(&error)
        })
    }

    async fn accept(&self) -> Option<Stream> {
        self.0.accept().await.ok().flatten()
    }

    fn reset(stream: Stream) -> Outcome {
        stream.reset();
        Outcome::of(Saw::Done)
    }

    fn go_away(&self) -> Outcome {
        self.0.go_away();
        Outcome::of(Saw::Done)
    }

    async fn close(&self) -> Outcome {
        self.0.close();
        ending(self.0.closed().await)
    }

    async fn ended(&self) -> Outcome {
        ending(self.0.closed().await)
    }

    fn open_streams(&self) -> Option<usize> {
        Some(self.0.stats().open_streams)
    }

    fn explain(error: &io::Error) -> Outcome {
        let stream = error.get_ref().and_then(|error| error.downcast_ref());
        let saw = match stream {
            Some(StreamError::Reset | StreamError::Refused | StreamError::LocalReset) => Saw::Reset,
            Some(StreamError::Closed | StreamError::Session(_)) => Saw::Lost,
            Some(StreamError::WriteClosed) => Saw::Closed,
            _ => Saw::Other,
        };
        Outcome::of(saw).because(error)
    }
}

fn ending(result: Result<(), SessionError>) -> Outcome {
    match result {
        // Other implementations do not report that they cut streams off.
        Ok(()) | Err(SessionError::DrainTimeout { .. }) => Outcome::of(Saw::Done),
        Err(error) => Outcome::of(Saw::Lost).because(&error),
    }
}
