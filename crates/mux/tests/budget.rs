//! Operations that are always ready spend the cooperative budget of tokio, so that other tasks run.

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use keyway_mux::{Config, Session};
use support::{End, bounded, eventually, pair_with, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::{AbortHandle, yield_now},
};

/// How many operations a task makes in a row.
const OPERATIONS: usize = 4_000;

/// How many units of budget a task of tokio has.
const BUDGET: usize = 128;

/// A task that counts how often it ran.
struct Other(Arc<AtomicUsize>, AbortHandle);

impl Other {
    fn start() -> Self {
        let polls = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&polls);
        let task = tokio::spawn(async move {
            loop {
                counter.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
            }
        });
        Self(polls, task.abort_handle())
    }

    fn polls(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.1.abort();
    }
}

fn ends() -> (End, End) {
    let config = Config::new()
        .accept_backlog(OPERATIONS)
        .max_unacknowledged(2 * OPERATIONS);
    pair_with(config.clone(), config)
}

/// Runs `operations` in a task of its own and checks that other tasks ran meanwhile.
async fn lets_others_run<F>(what: &str, operations: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let other = Other::start();
    yield_now().await;
    let before = other.polls();
    bounded(what, tokio::spawn(operations)).await.unwrap();
    let polls = other.polls() - before;
    assert!(
        polls >= OPERATIONS / BUDGET / 2,
        "another task ran {polls} times during {OPERATIONS} times {what}"
    );
}

/// Opens as many streams and sends a byte on each.
async fn open_many(session: &Session) {
    for _ in 0..OPERATIONS {
        let mut stream = session.open().await.unwrap();
        stream.write_all(b"x").await.unwrap();
    }
}

#[tokio::test]
async fn reads_spend_the_budget() {
    let (client, server) = ends();
    let (mut near, mut far) = stream(&client.session, &server.session).await;
    near.write_all(&[7; OPERATIONS]).await.unwrap();
    eventually("the bytes", || {
        server.session.stats().unread_bytes == OPERATIONS
    })
    .await;
    lets_others_run("a read", async move {
        for _ in 0..OPERATIONS {
            far.read_u8().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn writes_spend_the_budget() {
    let (client, server) = ends();
    let (mut near, _far) = stream(&client.session, &server.session).await;
    lets_others_run("a write", async move {
        for _ in 0..OPERATIONS {
            near.write_all(b"x").await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn opens_spend_the_budget() {
    let (client, _server) = ends();
    let session = client.session.clone();
    lets_others_run("an open", async move {
        let mut streams = Vec::new();
        for _ in 0..OPERATIONS {
            streams.push(session.open().await.unwrap());
        }
    })
    .await;
}

#[tokio::test]
async fn accepts_spend_the_budget() {
    let (client, server) = ends();
    open_many(&client.session).await;
    let session = server.session.clone();
    tokio::time::timeout(std::time::Duration::from_secs(20), async {
        while server.session.stats().bytes_received < OPERATIONS as u64 {
            yield_now().await;
        }
    })
    .await
    .unwrap();
    lets_others_run("an accept", async move {
        let mut streams = Vec::new();
        for _ in 0..OPERATIONS {
            streams.push(session.accept().await.unwrap());
        }
    })
    .await;
}

/// A task whose budget is spent is woken and continues.
#[tokio::test]
async fn an_operation_without_budget_is_ready_in_the_next_poll() {
    let (client, server) = ends();
    let (mut near, mut far) = stream(&client.session, &server.session).await;
    near.write_all(&[7; 1000]).await.unwrap();
    eventually("the bytes", || server.session.stats().unread_bytes == 1000).await;
    let reading = tokio::spawn(async move {
        for _ in 0..1000 {
            assert_eq!(far.read_u8().await.unwrap(), 7);
        }
    });
    bounded("the reader", reading).await.unwrap();
}
