//! A session between Keyway's multiplexer here and HashiCorp's in a Go process.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{future::Future, time::Duration};

use keyway_differential::{Act, Actor, End, GoEnd, GoPeer, Outcome, Saw, Settings, content};
use keyway_interop::go_programs;
use keyway_mux::{Config, Session, SessionError, Stream};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::{JoinHandle, JoinSet},
};

/// The session of this end, and the Go end.
pub(crate) struct Pair {
    pub(crate) session: Session,
    pub(crate) driver: JoinHandle<Result<(), SessionError>>,
    pub(crate) go: GoEnd,
    /// The role of the Go end.
    pub(crate) theirs: End,
}

/// Runs a test with a Go process, if Go is installed; otherwise the skip was reported.
pub(crate) fn with_go<F: Future<Output = ()>>(test: impl FnOnce(GoPeer) -> F) {
    let Some(programs) = go_programs() else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let peer = GoPeer::start(&programs).await.unwrap();
        test(peer).await;
    });
}

/// A session in which the Go end has this role, with settings of the Go end.
pub(crate) async fn pair(peer: &mut GoPeer, theirs: End, config: Config, settings: Value) -> Pair {
    let defaults = Settings::default();
    let started = peer.session_with(theirs, &defaults, settings);
    let (connection, go) = started.await.unwrap();
    let (session, driver) = match theirs {
        End::Client => Session::server(connection, config),
        End::Server => Session::client(connection, config),
    };
    Pair {
        session,
        driver: tokio::spawn(driver),
        go,
        theirs,
    }
}

impl Pair {
    /// Makes the Go end perform an act and returns its observation.
    pub(crate) async fn act(&self, act: Act) -> Outcome {
        bounded("the Go end", self.go.perform(act)).await.outcome
    }

    /// Makes the Go end perform an act that must succeed.
    pub(crate) async fn must(&self, act: Act) -> Outcome {
        let outcome = self.act(act).await;
        assert_eq!(outcome.saw, Saw::Done, "{act:?}: {outcome}");
        outcome
    }

    /// Makes the Go end open a stream.
    pub(crate) async fn theirs(&self) -> u32 {
        let open = self.go.perform(Act::Open { flush: true });
        let performed = bounded("the Go end's open", open).await;
        performed
            .stream
            .unwrap_or_else(|| panic!("{}", performed.outcome))
    }

    /// Opens a stream that the Go end has accepted, and its id. The Go end must be accepting.
    pub(crate) async fn ours(&self) -> (Stream, u32) {
        let mut stream = bounded("opening", self.session.open()).await.unwrap();
        stream.flush().await.unwrap();
        let id = stream.id().get();
        self.must(Act::Accept(id)).await;
        (stream, id)
    }

    /// Writes the content of this end on a stream from a position on.
    pub(crate) async fn write(&self, stream: &mut Stream, position: u64, bytes: usize) {
        let mut buffer = vec![0; bytes];
        let ours = self.theirs.other();
        content::fill(&mut buffer, stream.id().get(), ours, position);
        let written = bounded("writing", stream.write_all(&buffer)).await;
        written.unwrap();
    }

    /// Reads and checks the content of the Go end on a stream from a position on.
    pub(crate) async fn read(&self, stream: &mut Stream, position: u64, bytes: usize) {
        let mut buffer = vec![0; bytes];
        bounded("reading", stream.read_exact(&mut buffer))
            .await
            .unwrap();
        let id = stream.id().get();
        assert!(content::is_right(&buffer, id, self.theirs, position));
    }

    /// Echoes every stream of the Go end until no more come.
    pub(crate) fn echo(&self) -> JoinHandle<usize> {
        let session = self.session.clone();
        tokio::spawn(async move {
            let mut tasks = JoinSet::new();
            let mut count = 0;
            while let Ok(Some(stream)) = session.accept().await {
                count += 1;
                tasks.spawn(echo(stream));
                // Finished tasks are removed at once.
                while tasks.try_join_next().is_some() {}
            }
            tasks.join_all().await;
            count
        })
    }

    /// Makes the Go end echo every stream of this end.
    pub(crate) async fn they_echo(&self) {
        self.go.call(json!({ "act": "echo" })).await.unwrap();
    }

    /// Makes the Go end send this number of requests of this length, one after the other.
    pub(crate) async fn they_request(&self, count: usize, bytes: usize) {
        let command = json!({ "act": "request", "count": count, "bytes": bytes });
        let reply = bounded("the requests", self.go.call(command))
            .await
            .unwrap();
        assert_eq!(
            reply.saw,
            Saw::Done,
            "after {}: {}",
            reply.bytes,
            reply.text
        );
        assert_eq!(reply.bytes, count as u64);
    }

    /// Waits until neither end counts an open stream.
    pub(crate) async fn no_stream_is_left(&self) {
        bounded("the streams' end", async {
            loop {
                let theirs = self.must(Act::OpenStreams).await.bytes;
                if theirs == 0 && self.session.stats().open_streams == 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// Closes this end; both must end cleanly.
    pub(crate) async fn close(self) {
        self.session.close();
        bounded("the close", self.session.closed()).await.unwrap();
        self.must(Act::Ended).await;
        bounded("the driver", self.driver).await.unwrap().unwrap();
    }
}

async fn echo(stream: Stream) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    tokio::io::copy(&mut reader, &mut writer).await.unwrap();
    writer.shutdown().await.unwrap();
}

/// Sends one request of this length on a fresh stream; the response must be the same bytes.
pub(crate) async fn request(session: &Session, bytes: usize) {
    let stream = bounded("opening", session.open()).await.unwrap();
    let sent = vec![7; bytes];
    let (mut reader, mut writer) = tokio::io::split(stream);
    let writing = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut response = Vec::new();
    let (_, read) = bounded("the response", async {
        tokio::join!(writing, reader.read_to_end(&mut response))
    })
    .await;
    read.unwrap();
    assert!(response == sent, "{} of {bytes} bytes", response.len());
}

/// Fails a test that hangs.
pub(crate) async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(600), future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not end within 10 minutes"),
    }
}
