//! A service of one message, and connections to it in memory.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use ::http::{Uri, header::Entry};
use keyway_http::{Exchange, Limits, serve_connection};
pub use keyway_rpc as rpc;
use keyway_rpc::client::{Client, Config};
use keyway_rpc::{Error, Idempotency, MethodSpec, Request, Response, Route, Router};
use prost::Message;
use tokio::io::DuplexStream;
use tower_service::Service;

/// A message with one string.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Text {
    /// The string.
    #[prost(string, tag = "1")]
    pub text: String,
}

impl prost::Name for Text {
    const NAME: &'static str = "Text";
    const PACKAGE: &'static str = "test";

    fn full_name() -> String {
        "test.Text".to_owned()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self {
            text: text.to_owned(),
        }
    }
}

/// Echoes a message.
pub static ECHO: MethodSpec = MethodSpec::unary("/test.Echo/Echo");
/// The same with GET.
pub static READ: MethodSpec =
    MethodSpec::unary("/test.Echo/Read").with_idempotency(Idempotency::NoSideEffects);
/// The same with values to zero.
pub static SECRET: MethodSpec = MethodSpec::unary("/test.Echo/Secret").sensitive();
/// Never responds.
pub static HANG: MethodSpec = MethodSpec::unary("/test.Echo/Hang");
/// Panics.
pub static PANIC: MethodSpec = MethodSpec::unary("/test.Echo/Panic");

/// The text of a panic in a handler, which no response may contain.
pub const PANIC_TEXT: &str = "the handler's own words";

/// The handler of [`ECHO`], [`READ`] and [`SECRET`]: returns the message and some metadata.
pub async fn echo(request: Request<Text>) -> Result<Response<Text>, Error> {
    let mut headers = request.metadata().clone();
    let mut response = Response::new(request.into_message());
    for name in ["x-one", "x-two-bin"] {
        if let Entry::Occupied(entry) = headers.entry(name) {
            let (name, values) = entry.remove_entry_mult();
            for value in values {
                response.headers_mut().append(name.clone(), value.clone());
                response.trailers_mut().append(name.clone(), value);
            }
        }
    }
    Ok(response)
}

/// Counts the futures of a handler that are alive.
#[derive(Clone, Default)]
pub struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn enter(&self) -> Living {
        self.0.fetch_add(1, Ordering::SeqCst);
        Living(Arc::clone(&self.0))
    }

    /// Returns the number of them.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

struct Living(Arc<AtomicUsize>);

impl Drop for Living {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The test service; `hanging` counts the calls of the method that never responds.
pub fn router(hanging: &Alive) -> Router {
    let hanging = hanging.clone();
    let hang = move |_: Request<Text>| {
        let living = hanging.enter();
        async move {
            let _living = living;
            pending::<Result<Response<Text>, Error>>().await
        }
    };
    Router::new()
        .max_message_size(16 * 1024 * 1024)
        .add_route(Route::unary(&ECHO, echo))
        .add_route(Route::unary(&READ, echo))
        .add_route(Route::unary(&SECRET, echo))
        .add_route(Route::unary(&HANG, hang))
        .add_route(Route::unary(&PANIC, |_: Request<Text>| async move {
            if true {
                panic!("{PANIC_TEXT}");
            }
            Ok::<_, Error>(Response::new(Text::default()))
        }))
}

/// Opens in-memory connections, each served by a task of its own.
#[derive(Clone)]
pub struct Memory {
    router: Router,
    config: Limits,
    opened: Arc<AtomicUsize>,
}

impl Memory {
    /// Connections to this router with the default limits.
    pub fn new(router: Router) -> Self {
        Self {
            router,
            config: Limits::default(),
            opened: Arc::default(),
        }
    }

    /// Sets the limits of the connections.
    pub fn with_config(mut self, config: Limits) -> Self {
        self.config = config;
        self
    }

    /// Returns the number of connections that were opened.
    pub fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    /// The client's end of a new connection.
    pub fn open(&self) -> DuplexStream {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let (near, far) = tokio::io::duplex(16 * 1024);
        let (router, config) = (self.router.clone(), self.config.clone());
        tokio::spawn(async move {
            let _ = serve_connection(far, router, &config, pending()).await;
        });
        near
    }

    /// A client with a connection for each call.
    pub fn client(&self, config: Config) -> Client<Exchange<Self>> {
        Client::with_config(Exchange::new(self.clone()), config)
    }
}

impl Service<Uri> for Memory {
    type Response = DuplexStream;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        std::future::ready(Ok(self.open()))
    }
}
