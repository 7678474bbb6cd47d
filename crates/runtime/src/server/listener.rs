//! [`Listener`]: the daemon's sockets as one stream of admitted clients.

use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use keyway_local::Credentials;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::client::ClientStream;
use super::socket::Socket;
use crate::authority::{Authorizer, User};
use crate::caller::Peer;
use crate::config::Current;
use crate::lines::{PeerLines, peer_event};

/// Accepts at all sockets, round robin. A process of a user who may not connect is refused by closing its connection, before
/// anything is read from it.
///
/// It ends after a stop: further connections are refused, and those in the queues are accepted.
pub(super) struct Listener {
    sockets: Vec<Socket>,
    stop: Stop,
    /// Sockets that take the place of others, with their positions.
    replacements: mpsc::Receiver<(usize, Socket)>,
    /// The socket that is polled first, so that one busy socket does not starve the others.
    next: usize,
    authorizer: Arc<Authorizer>,
    settings: Arc<Current>,
    /// Log lines about refused connections.
    lines: PeerLines,
}

/// The stop of the daemon, as the listener sees it.
enum Stop {
    /// It begins when the sender is dropped.
    Awaited(oneshot::Receiver<Infallible>),
    Begun,
}

impl Listener {
    /// Accepts at `sockets` until the sender of `stop` is dropped. A replacement takes the place of the socket at its position, whose
    /// file was removed.
    pub(super) fn new(
        sockets: Vec<Socket>,
        stop: oneshot::Receiver<Infallible>,
        replacements: mpsc::Receiver<(usize, Socket)>,
        authorizer: Arc<Authorizer>,
        settings: Arc<Current>,
    ) -> Self {
        Self {
            sockets,
            stop: Stop::Awaited(stop),
            replacements,
            next: 0,
            authorizer,
            settings,
            lines: PeerLines::default(),
        }
    }

    /// Accepts the next connection in the queues of sockets that refuse further ones; `None` if the queues are empty.
    fn next_queued(&mut self) -> Option<io::Result<ClientStream>> {
        while let Some(socket) = self.sockets.last() {
            let is_path_address = socket.address().as_path().is_some();
            match socket.accept_queued() {
                Ok(Some(stream)) => {
                    if let Some(client) = self.admit(stream, is_path_address) {
                        return Some(Ok(client));
                    }
                }
                Ok(None) => drop(self.sockets.pop()),
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }

    /// Returns the client of a connection; `None` if it is refused.
    fn admit(&self, stream: UnixStream, is_path_address: bool) -> Option<ClientStream> {
        let credentials = match Credentials::of_peer(&stream) {
            Ok(credentials) => credentials,
            Err(error) => {
                peer_event!(self.lines, WARN, %error, "connection refused: the kernel gives no credentials");
                return None;
            }
        };
        let user = self.authorizer.user(credentials.uid);
        if user == User::Other {
            peer_event!(
                self.lines,
                WARN,
                uid = credentials.uid,
                pid = credentials.raw_pid(),
                "connection of another user refused (`allow_uids`)"
            );
            return None;
        }
        let peer = Arc::new(Peer::identify(stream.as_fd(), credentials, is_path_address));
        let removed = (user != User::Own).then(|| {
            let removed = removed(
                Arc::clone(&self.authorizer),
                Arc::clone(&self.settings),
                Arc::clone(&peer),
            );
            Box::pin(removed) as Pin<Box<dyn Future<Output = ()> + Send>>
        });
        Some(ClientStream::new(stream, peer, removed))
    }
}

/// Resolves when a reload has taken the uid of this client out of those that may connect.
async fn removed(authorizer: Arc<Authorizer>, settings: Arc<Current>, peer: Arc<Peer>) {
    let mut changes = settings.subscribe();
    while authorizer.user(peer.uid()) != User::Other {
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
    tracing::warn!(
        uid = peer.uid(),
        pid = peer.pid(),
        "connection closed: the uid was removed from `allow_uids`"
    );
}

impl Stream for Listener {
    type Item = io::Result<ClientStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Stop::Awaited(stop) = &mut self.stop {
            let is_stopped = Pin::new(stop).poll(cx).is_ready();
            while let Poll::Ready(Some((index, socket))) = self.replacements.poll_recv(cx) {
                self.sockets[index] = socket;
            }
            if is_stopped {
                self.stop = Stop::Begun;
                self.replacements.close();
                self.sockets.retain(Socket::refuse);
            }
        }
        if let Stop::Begun = self.stop {
            return Poll::Ready(self.next_queued());
        }
        let count = self.sockets.len();
        for offset in 0..count {
            let index = (self.next + offset) % count;
            while let Poll::Ready(accepted) = self.sockets[index].poll_accept(cx) {
                let stream = match accepted {
                    Ok(stream) => stream,
                    Err(error) => return Poll::Ready(Some(Err(error))),
                };
                let is_path_address = self.sockets[index].address().as_path().is_some();
                if let Some(client) = self.admit(stream, is_path_address) {
                    self.next = index + 1;
                    return Poll::Ready(Some(Ok(client)));
                }
            }
        }
        Poll::Pending
    }
}
