//! A plugin and a runtime on the multiplexer and the Connect layer alone, over either multiplexer.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::convert::Infallible;
use std::error::Error as StdError;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::Stream;
use keyway_http::{Exchange, Limits, serve};
use keyway_interop::demo_value as value;
use keyway_mux::{Connector, Listener, Session};
use keyway_proto::{plugins::v1 as plugins, resolver::v1 as resolver};
use keyway_rpc::client::Client;
use keyway_rpc::{Error, MethodSpec, Request, Response, Route, Router};
use keyway_yamux_engine::{YamuxConnector, YamuxListener, YamuxSession, YamuxStream};
use resolver::get_secrets_response::Envelope;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tower_service::Service;

pub(crate) static REGISTER: MethodSpec =
    MethodSpec::unary("/plugins.v1.RegisterService/RegisterPlugin");
pub(crate) static SHUTDOWN: MethodSpec = MethodSpec::unary("/plugins.v1.PluginService/Shutdown");
pub(crate) static GET_SECRETS: MethodSpec =
    MethodSpec::unary("/resolver.v1.ResolverService/GetSecrets");

/// Runs a test once the big value was computed, which would block the one thread for long.
pub(crate) fn block_on(test: impl Future<Output = ()>) {
    value("demo/big");
    keyway_interop::block_on(test);
}

/// Reads an HTTP head byte for byte, so that nothing behind it is lost.
pub(crate) async fn read_head(stream: &mut UnixStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("the peer sends a head"));
    }
    String::from_utf8(head).expect("a head is text")
}

/// A session of either multiplexer, as HTTP uses it.
pub(crate) trait Multiplexer: Clone + Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;
    type Connector: Service<
            http::Uri,
            Response = Self::Stream,
            Error: StdError + Send + Sync,
            Future: Send + Unpin,
        > + Clone
        + Send
        + Sync
        + 'static;

    fn connector(&self) -> Self::Connector;

    fn listener(&self) -> impl Stream<Item = io::Result<Self::Stream>> + Send + Unpin + 'static;

    fn ended(&self) -> impl Future<Output = ()> + Send + 'static;
}

impl Multiplexer for Session {
    type Stream = keyway_mux::Stream;
    type Connector = Connector;

    fn connector(&self) -> Connector {
        Connector::new(self.clone())
    }

    fn listener(&self) -> impl Stream<Item = io::Result<Self::Stream>> + Send + Unpin + 'static {
        Listener::new(self.clone())
    }

    fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let session = self.clone();
        // The driver reports the reason.
        async move { drop(session.closed().await) }
    }
}

impl Multiplexer for YamuxSession {
    type Stream = YamuxStream;
    type Connector = YamuxConnector;

    fn connector(&self) -> YamuxConnector {
        YamuxConnector::new(self.clone())
    }

    fn listener(&self) -> impl Stream<Item = io::Result<YamuxStream>> + Send + Unpin + 'static {
        YamuxListener::new(self.clone())
    }

    fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let session = self.clone();
        // The driver reports the reason.
        async move { drop(session.closed().await) }
    }
}

/// Serves routes and `/health` on every stream that the peer opens.
pub(crate) fn spawn_server<M: Multiplexer>(tasks: &mut JoinSet<()>, session: &M, router: Router) {
    let service = router.with_fallback(Health);
    let listener = session.listener();
    let until = session.ended();
    tasks.spawn(async move {
        serve(
            listener,
            move |_, _| service.clone(),
            Limits::default(),
            until,
        )
        .await;
    });
}

#[derive(Clone)]
struct Health;

impl<B> Service<http::Request<B>> for Health {
    type Response = http::Response<keyway_rpc::Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let found = request.uri().path() == "/health";
        let body =
            keyway_rpc::Body::from(bytes::Bytes::from_static(if found { b"ok" } else { b"" }));
        let mut response = http::Response::new(body);
        if !found {
            *response.status_mut() = http::StatusCode::NOT_FOUND;
        }
        std::future::ready(Ok(response))
    }
}

fn found(id: &str) -> resolver::GetSecretsResponse {
    let mut envelope = Envelope::default();
    envelope.id = Some(id.to_owned());
    envelope.value = Some(value(id));
    envelope.version = Some("v7".to_owned());
    let seconds = |seconds| Some(prost_timestamp(seconds));
    envelope.created_at = seconds(1_735_787_045);
    envelope.expires_at = seconds(4_891_460_645);
    envelope
        .metadata
        .insert("owner".to_owned(), "nobody".to_owned());
    resolver::GetSecretsResponse {
        envelopes: vec![envelope],
    }
}

fn prost_timestamp(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

async fn respond(
    request: Request<resolver::GetSecretsRequest>,
) -> Result<Response<resolver::GetSecretsResponse>, Error> {
    let id = request.into_message().pattern.unwrap_or_default();
    match id.as_str() {
        "demo/hit" | "demo/big" => {}
        "demo/slow" => tokio::time::sleep(Duration::from_millis(1500)).await,
        _ => return Err(Error::not_found("secret not found")),
    }
    Ok(Response::new(found(&id)))
}

pub(crate) fn provider(stop: &Arc<Notify>) -> Router {
    let stop = Arc::clone(stop);
    let shutdown = move |_: Request<plugins::ShutdownRequest>| {
        stop.notify_one();
        std::future::ready(Ok(Response::new(plugins::ShutdownResponse {})))
    };
    Router::new()
        .add_route(Route::unary(&GET_SECRETS, respond))
        .add_route(Route::unary(&SHUTDOWN, shutdown))
}

/// Requests an upgrade from a daemon.
pub(crate) async fn hijack(socket: &Path) -> UnixStream {
    let mut stream = UnixStream::connect(socket)
        .await
        .expect("the runtime listens");
    let request =
        "GET /hijack HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n";
    stream
        .write_all(request.as_bytes())
        .await
        .expect("the runtime reads");
    assert!(read_head(&mut stream).await.contains(" 101 "));
    stream
}

/// Grants the upgrade that the next plugin requests.
pub(crate) async fn accept_hijack(listener: UnixListener) -> UnixStream {
    let (mut stream, _) = listener.accept().await.expect("the plugin comes");
    assert!(read_head(&mut stream).await.starts_with("GET /hijack "));
    let response =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n";
    stream
        .write_all(response.as_bytes())
        .await
        .expect("the plugin reads");
    stream
}

/// A client that opens a stream for each call.
pub(crate) fn client<M: Multiplexer>(session: &M) -> Client<Exchange<M::Connector>> {
    Client::new(Exchange::new(session.connector()))
}

/// Registers as the demo plugin, and returns the runtime's name.
pub(crate) async fn register<M: Multiplexer>(session: &M) -> String {
    let provider = plugins::SecretsProvider {
        pattern: Some("demo/**".to_owned()),
    };
    let metadata = plugins::register_plugin_request::Metadata::SecretsProvider(provider);
    let request = Request::new(plugins::RegisterPluginRequest {
        name: Some("demo".to_owned()),
        version: Some("v1.2.3".to_owned()),
        metadata: Some(metadata),
    });
    let accepted: Response<plugins::RegisterPluginResponse> = client(session)
        .unary(&REGISTER, request)
        .await
        .expect("the runtime accepts");
    accepted.into_message().engine_name.unwrap_or_default()
}

/// Accepts one registration.
pub(crate) fn registrar(registered: &Arc<Notify>) -> Router {
    let notify = Arc::clone(registered);
    let register = move |_: Request<plugins::RegisterPluginRequest>| {
        notify.notify_one();
        let accepted = plugins::RegisterPluginResponse {
            engine_name: Some("bare".to_owned()),
            engine_version: Some("v0.0.1".to_owned()),
            request_timeout: Some(prost_types::Duration {
                seconds: 10,
                nanos: 0,
            }),
        };
        std::future::ready(Ok(Response::new(accepted)))
    };
    Router::new().add_route(Route::unary(&REGISTER, register))
}

/// Gets one secret.
pub(crate) async fn get<M: Multiplexer>(session: &M, id: &str) -> Result<Vec<u8>, Error> {
    let request = Request::new(resolver::GetSecretsRequest {
        pattern: Some(id.to_owned()),
    });
    let response: Response<resolver::GetSecretsResponse> =
        client(session).unary(&GET_SECRETS, request).await?;
    let message = response.into_message();
    assert_eq!(message.envelopes.len(), 1);
    Ok(message.envelopes[0].value.clone().unwrap_or_default())
}

/// Makes calls of `callers` at a time until `total` were made.
pub(crate) async fn load<M: Multiplexer>(
    session: &M,
    total: usize,
    callers: usize,
    id: &'static str,
) {
    let expected = Arc::new(value(id));
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let (session, expected) = (session.clone(), Arc::clone(&expected));
        tasks.spawn(async move {
            for _ in 0..total / callers {
                assert_eq!(
                    get(&session, id).await.expect("the plugin responds"),
                    *expected
                );
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("every call completes");
    }
}

/// Stops a plugin.
pub(crate) async fn shut_down<M: Multiplexer>(session: &M) -> Result<(), Error> {
    let request = Request::new(plugins::ShutdownRequest {});
    let response: Response<plugins::ShutdownResponse> =
        client(session).unary(&SHUTDOWN, request).await?;
    let _ = response.into_message();
    Ok(())
}
