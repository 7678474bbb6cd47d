//! The `tokio-yamux` crate.

use std::{
    io,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures::Stream as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Mutex as AsyncMutex, mpsc, oneshot, watch},
};
use tokio_yamux::{Config, Error, Session, StreamHandle, session::SessionType};

use crate::{
    local::Local,
    multiplexer::Multiplexer,
    outcome::{Outcome, Saw},
    script::{End, Settings},
};

/// One end on a connection.
pub(crate) fn tokio_yamux<T>(io: T, end: End, settings: &Settings) -> Local<TokioYamux>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let kind = match end {
        End::Client => SessionType::Client,
        End::Server => SessionType::Server,
    };
    let config = Config {
        accept_backlog: settings.backlog[end.index()],
        keepalive_interval: Duration::from_millis(settings.keep_alive),
        max_stream_window_size: settings.window,
        ..Config::default()
    };
    let (commands, inbox) = mpsc::unbounded_channel();
    let (offers, offered) = mpsc::unbounded_channel();
    let (ended, ending) = watch::channel(None);
    let mut driver = Driver {
        session: Session::new(io, config, kind),
        inbox,
        offers,
    };
    let engine = TokioYamux {
        commands,
        offered: AsyncMutex::new(offered),
        ending: Mutex::new(ending),
    };
    Local::new(end, engine, async move {
        let outcome = std::future::poll_fn(|cx| driver.poll(cx)).await;
        drop(driver);
        // Nobody may be left to hear it.
        let _ = ended.send(Some(outcome));
    })
}

enum Command {
    Open(oneshot::Sender<Result<StreamHandle, Error>>),
    GoAway,
    Close,
}

/// A session of `tokio-yamux`.
pub(crate) struct TokioYamux {
    commands: mpsc::UnboundedSender<Command>,
    offered: AsyncMutex<mpsc::UnboundedReceiver<StreamHandle>>,
    ending: Mutex<watch::Receiver<Option<Outcome>>>,
}

impl Multiplexer for TokioYamux {
    type Stream = StreamHandle;

    const FLUSHES: bool = true;

    fn id(stream: &StreamHandle) -> u32 {
        stream.id()
    }

    async fn open(&self) -> Result<StreamHandle, Outcome> {
        let (answer, opened) = oneshot::channel();
        let lost = || Outcome::of(Saw::Lost);
        let sent = self.commands.send(Command::Open(answer));
        sent.map_err(|_| lost())?;
        opened.await.map_err(|_| lost())?.map_err(|error| {
            let saw = match error {
                Error::RemoteGoAway => Saw::Refused,
                Error::SessionShutdown => Saw::Lost,
                _ => Saw::Other,
            };
            Outcome::of(saw).saying(error)
        })
    }

    async fn accept(&self) -> Option<StreamHandle> {
        self.offered.lock().await.recv().await
    }

    fn reset(_: StreamHandle) -> Outcome {
        Outcome::of(Saw::Unsupported)
    }

    fn go_away(&self) -> Outcome {
        match self.commands.send(Command::GoAway) {
            Ok(()) => Outcome::of(Saw::Done),
            Err(_) => Outcome::of(Saw::Lost),
        }
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

    fn explain(error: &io::Error) -> Outcome {
        let saw = match error.kind() {
            io::ErrorKind::ConnectionReset => Saw::Reset,
            io::ErrorKind::BrokenPipe => Saw::Closed,
            _ => Saw::Other,
        };
        Outcome::of(saw).saying(error)
    }
}

struct Driver<T> {
    session: Session<T>,
    inbox: mpsc::UnboundedReceiver<Command>,
    offers: mpsc::UnboundedSender<StreamHandle>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        while let Poll::Ready(Some(command)) = self.inbox.poll_recv(cx) {
            let done = match command {
                Command::Open(answer) => {
                    // Whoever asked may have given up.
                    let _ = answer.send(self.session.open_stream());
                    Ok(())
                }
                Command::GoAway => self.session.send_go_away(cx),
                Command::Close => self.session.shutdown(cx),
            };
            if let Err(error) = done {
                return Poll::Ready(Outcome::of(Saw::Lost).saying(error));
            }
        }
        loop {
            match std::task::ready!(Pin::new(&mut self.session).poll_next(cx)) {
                // Without a receiver the stream is dropped, as it must be.
                Some(Ok(stream)) => drop(self.offers.send(stream)),
                Some(Err(error)) => return Poll::Ready(Outcome::of(Saw::Lost).saying(error)),
                None => return Poll::Ready(Outcome::of(Saw::Done)),
            }
        }
    }
}
