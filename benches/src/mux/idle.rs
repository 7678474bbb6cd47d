//! Calls beside streams that are open and idle.

use keyway_mux::{Session, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::spawn_local;

use super::{request, serve, sessions};
use crate::contenders::{Contender, Running};

/// A session with `COUNT` idle streams.
struct Idle<const COUNT: usize> {
    session: Session,
    _streams: Vec<(Stream, Stream)>,
}

impl<const COUNT: usize> Contender for Idle<COUNT> {
    async fn start() -> Self {
        let (session, server) = sessions();
        let mut streams = Vec::with_capacity(COUNT);
        for _ in 0..COUNT {
            let mut near = session.open().await.expect("the session is open");
            near.write_all(b"?").await.expect("the session is open");
            let mut far = server
                .accept()
                .await
                .expect("a stream was opened")
                .expect("a stream was opened");
            far.read_u8().await.expect("a byte was sent");
            far.write_all(b"!").await.expect("the session is open");
            near.read_u8().await.expect("a byte was sent");
            streams.push((near, far));
        }
        spawn_local(serve(server));
        Self {
            session,
            _streams: streams,
        }
    }

    async fn call(&mut self) {
        request(self.session.open().await.expect("the session is open")).await;
    }
}

/// Returns the contenders, in the order of reports.
#[must_use]
pub fn idle() -> Vec<Running> {
    vec![
        Running::start::<Idle<1>>("beside 1 idle stream"),
        Running::start::<Idle<100>>("beside 100 idle streams"),
        Running::start::<Idle<1_000>>("beside 1,000 idle streams"),
        Running::start::<Idle<10_000>>("beside 10,000 idle streams"),
    ]
}
