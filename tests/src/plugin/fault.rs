//! Carries out a [`Fault`].

use std::io::{self, Write as _};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use keyway_mux::Session;
use keyway_rpc::Body;
use keyway_test_support::frame;
use tokio::io::AsyncWriteExt as _;

use super::Player;
use crate::fault::{Fault, Progress};

/// The pause of a flood while the connection takes nothing.
const FULL_PAUSE: Duration = Duration::from_millis(1);

/// The floods of this process so far. Each happens once: at every call it would occupy a slow machine for itself.
static FLOODS: Mutex<Vec<Fault>> = Mutex::new(Vec::new());

/// Takes the steps before the response.
pub(super) async fn before_response(fault: &Fault, player: &Player, session: &Session) {
    match fault {
        Fault::Delay(time) => tokio::time::sleep(*time).await,
        Fault::OpenStreams(_) | Fault::Ping(_) | Fault::WriteStderr(_) if !is_first(fault) => {}
        Fault::OpenStreams(n_streams) => open_streams(session, *n_streams).await,
        Fault::Ping(n_pings) => {
            let ping = frame::Frame::ping(frame::Flags::SYN, 1).encode();
            send(player, &ping.repeat(*n_pings)).await;
        }
        Fault::WriteStderr(n_bytes) => write_stderr(*n_bytes),
        Fault::SendGarbage => send(player, &[0xff; 64]).await,
        Fault::CutConnection(Progress::Nothing) => cut(player),
        Fault::CutConnection(Progress::Half) | Fault::ResetStream => {}
    }
}

/// Breaks the response off, if the fault says so.
pub(super) fn in_response(
    fault: &Fault,
    player: &Player,
    response: http::Response<Body>,
) -> http::Response<Body> {
    let is_cut = match fault {
        Fault::CutConnection(Progress::Half) => true,
        Fault::ResetStream => false,
        _ => return response,
    };
    response.map(|inner| {
        Body::new(Half {
            size: inner.size_hint(),
            inner,
            is_sent: false,
            cuts: is_cut.then(|| player.clone()),
        })
    })
}

fn is_first(flood: &Fault) -> bool {
    let mut floods = FLOODS.lock().unwrap_or_else(PoisonError::into_inner);
    let is_first = !floods.contains(flood);
    if is_first {
        floods.push(flood.clone());
    }
    is_first
}

async fn open_streams(session: &Session, n_streams: usize) {
    for _ in 0..n_streams {
        // The daemon may refuse any of them, or end the session.
        let Ok(mut stream) = session.open().await else {
            return;
        };
        if stream.write_all(b"?").await.is_err() {
            return;
        }
    }
}

fn write_stderr(n_bytes: usize) {
    let line = [[b'x'; 1023].as_slice(), b"\n"].concat();
    let mut stderr = io::stderr();
    for _ in 0..n_bytes.div_ceil(line.len()) {
        stderr.write_all(&line).expect("stderr is drained");
    }
}

/// Sends bytes past the session. They may land in the middle of one of its frames, which is a fault as well.
async fn send(player: &Player, mut bytes: &[u8]) {
    let Some(socket) = &player.socket else {
        return;
    };
    while !bytes.is_empty() {
        match (&**socket).write(bytes) {
            Ok(n_written) => bytes = &bytes[n_written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(FULL_PAUSE).await;
            }
            // The daemon has closed the connection.
            Err(_) => return,
        }
    }
}

fn cut(player: &Player) {
    if let Some(socket) = &player.socket {
        // The daemon may have closed it before.
        let _ = socket.shutdown(Shutdown::Both);
    }
}

/// A body that fails after the first half of its data.
struct Half {
    inner: Body,
    /// The length that the head promises.
    size: SizeHint,
    is_sent: bool,
    /// Whose connection is cut then.
    cuts: Option<Player>,
}

impl HttpBody for Half {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.is_sent {
            if let Some(player) = &self.cuts {
                cut(player);
            }
            return Poll::Ready(Some(Err(io::Error::other("broken off"))));
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        self.is_sent = true;
        let data = frame.and_then(|frame| frame.ok()?.into_data().ok());
        let data = data.unwrap_or_default();
        let half = data.slice(..data.len() / 2);
        Poll::Ready(Some(Ok(Frame::data(half))))
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}
