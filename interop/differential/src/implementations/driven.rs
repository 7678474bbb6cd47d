//! The common part of the foreign implementations: one task polls the session, receives commands and yields streams.

use std::{
    io,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Mutex as AsyncMutex, mpsc, oneshot, watch},
};

use crate::{
    local::Local,
    multiplexer::Multiplexer,
    outcome::{Outcome, Saw},
    script::End,
};

/// A command to the task.
pub(super) enum Command<S> {
    /// Open a stream.
    Open(oneshot::Sender<Result<S, Outcome>>),
    /// Send GoAway; only if [`ForeignStream::SENDS_GO_AWAY`].
    GoAway,
    /// Close the session.
    Close,
}

/// A stream of a foreign implementation, with the capabilities and errors of the implementation.
pub(crate) trait ForeignStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// `true` if its sessions can send a GoAway without closing.
    const SENDS_GO_AWAY: bool;

    /// Its number on the wire.
    fn id(&self) -> u32;

    /// Returns the meaning of an error.
    fn explain(error: &io::Error) -> Saw;
}

/// The task's end of the channels.
pub(super) struct Inbox<S> {
    /// The commands, to be polled by the session's task.
    pub(super) commands: mpsc::UnboundedReceiver<Command<S>>,
    accept_queue: mpsc::UnboundedSender<S>,
}

impl<S> Inbox<S> {
    /// Queues a stream of the other end for `accept`.
    pub(super) fn enqueue(&self, stream: S) {
        // Without a receiver the stream is dropped, as it must be.
        drop(self.accept_queue.send(stream));
    }
}

/// A session that one task polls.
pub(super) trait Driver<S>: Send + 'static {
    /// Executes the commands and drives the session until it ends.
    fn poll(&mut self, inbox: &mut Inbox<S>, cx: &mut Context<'_>) -> Poll<Outcome>;
}

/// The handle of a session that one task polls.
pub(crate) struct Driven<S> {
    commands: mpsc::UnboundedSender<Command<S>>,
    accepted: AsyncMutex<mpsc::UnboundedReceiver<S>>,
    ending: Mutex<watch::Receiver<Option<Outcome>>>,
}

impl<S: ForeignStream> Driven<S> {
    /// An actor whose task polls `driver`.
    pub(super) fn local(end: End, mut driver: impl Driver<S>) -> Local<Self> {
        #[expect(clippy::disallowed_methods, reason = "a script has a bound")]
        let (commands, receiver) = mpsc::unbounded_channel();
        #[expect(clippy::disallowed_methods, reason = "a script has a bound")]
        let (accept_queue, accepted) = mpsc::unbounded_channel();
        let (ended, ending) = watch::channel(None);
        let mut inbox = Inbox {
            commands: receiver,
            accept_queue,
        };
        let session = Self {
            commands,
            accepted: AsyncMutex::new(accepted),
            ending: Mutex::new(ending),
        };
        Local::new(end, session, async move {
            let outcome = std::future::poll_fn(|cx| driver.poll(&mut inbox, cx)).await;
            drop((driver, inbox));
            // All receivers may be dropped.
            let _ = ended.send(Some(outcome));
        })
    }

    fn send(&self, command: Command<S>) -> Outcome {
        match self.commands.send(command) {
            Ok(()) => Outcome::of(Saw::Done),
            Err(_) => Outcome::of(Saw::Lost),
        }
    }
}

impl<S: ForeignStream> Multiplexer for Driven<S> {
    type Stream = S;

    const FLUSHES: bool = true;

    fn id(stream: &S) -> u32 {
        stream.id()
    }

    async fn open(&self) -> Result<S, Outcome> {
        let (reply, opened) = oneshot::channel();
        // A command that is dropped drops its reply channel, which ends the wait.
        self.send(Command::Open(reply));
        opened.await.unwrap_or(Err(Outcome::of(Saw::Lost)))
    }

    async fn accept(&self) -> Option<S> {
        self.accepted.lock().await.recv().await
    }

    fn reset(_: S) -> Outcome {
        Outcome::of(Saw::Unsupported)
    }

    fn go_away(&self) -> Outcome {
        if S::SENDS_GO_AWAY {
            self.send(Command::GoAway)
        } else {
            Outcome::of(Saw::Unsupported)
        }
    }

    async fn close(&self) -> Outcome {
        // The other end may have closed before: the outcome is then the end of that close.
        self.send(Command::Close);
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
        Outcome::of(S::explain(error)).with_text(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        actor::{Act, Actor},
        implementations::{native, tokio_yamux, yamux_crate},
        script::Settings,
    };
    use keyway_test_support::wire::wire;

    async fn saw(actor: &dyn Actor, act: Act) -> Saw {
        actor.perform(act).await.outcome.saw
    }

    /// Closes the session from Keyway's end, waits until the other end has observed it, and closes that one.
    async fn closes_behind_the_other(other: &dyn Actor, own: &dyn Actor) {
        assert_eq!(saw(own, Act::Close).await, Saw::Done);
        assert_eq!(saw(other, Act::Ended).await, Saw::Done);
        assert_eq!(saw(other, Act::Close).await, Saw::Done);
    }

    #[tokio::test(start_paused = true)]
    async fn a_close_after_that_of_the_other_end_succeeds() {
        let settings = Settings::default();
        let pair = || wire(settings.capacity, settings.chunk);
        let (near, far) = pair();
        let own = native(near, End::Client, &settings);
        closes_behind_the_other(&yamux_crate(far, End::Server, &settings), &own).await;
        let (near, far) = pair();
        let own = native(near, End::Client, &settings);
        closes_behind_the_other(&tokio_yamux(far, End::Server, &settings), &own).await;
    }
}
