//! A daemon whose services a test scripts.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use keyway_http::{Limits, serve_connection};
use keyway_proto::health::v1::{GetVersionRequest, GetVersionResponse, VersionService};
use keyway_rpc::{Error, Request, Response, Router};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Serves a router at a path, on a thread of its own. Dropped, it closes all connections and removes the socket.
#[derive(Debug)]
pub struct ScriptedDaemon {
    path: PathBuf,
    n_accepted: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ScriptedDaemon {
    /// Listens at `path`, which accepts connections when this returns.
    ///
    /// # Panics
    ///
    /// Panics if the path cannot be bound.
    #[track_caller]
    pub fn serve(path: impl Into<PathBuf>, router: Router) -> Self {
        let path = path.into();
        let listener = UnixListener::bind(&path).expect("a socket");
        listener.set_nonblocking(true).expect("a socket");
        let n_accepted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&n_accepted);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, router, &counter) => {}
                    // A dropped sender is a stop as well.
                    _ = stopped => {}
                }
            });
        });
        Self {
            path,
            n_accepted,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The path of the socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of connections that were accepted so far.
    pub fn n_accepted(&self) -> usize {
        self.n_accepted.load(Ordering::SeqCst)
    }
}

impl Drop for ScriptedDaemon {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
        // A test may have removed it.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn accept(listener: UnixListener, router: Router, n_accepted: &AtomicUsize) {
    let listener = tokio::net::UnixListener::from_std(listener).expect("a socket");
    // Longer than any test holds a connection without a request.
    let config = Limits::default().head_timeout(Duration::from_secs(60));
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        n_accepted.fetch_add(1, Ordering::SeqCst);
        let (router, config) = (router.clone(), config.clone());
        connections.spawn(async move {
            let never = std::future::pending();
            // A client may leave at any time.
            let _ = serve_connection(stream, router, &config, never).await;
        });
    }
}

/// A [`VersionService`] that returns this version.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_structs, reason = "for tests of this workspace")]
pub struct Version(pub &'static str);

impl VersionService for Version {
    async fn get_version(
        &self,
        _: Request<GetVersionRequest>,
    ) -> Result<Response<GetVersionResponse>, Error> {
        Ok(Response::new(GetVersionResponse {
            version: Some(self.0.to_owned()),
            ..GetVersionResponse::default()
        }))
    }
}
