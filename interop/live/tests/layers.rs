//! The multiplexer and the Connect layer alone, without runtime or SDK, against
//! Go peers in both roles.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyway_interop::{GoPrograms, Home, Peer, demo_value as value, go_programs};
use keyway_mux::{Config, Connector, Listener, Role, Session};
use keyway_proto::{plugins::v1 as plugins, resolver::v1 as resolver};
use keyway_rpc::client::Client;
use keyway_rpc::http1::{Exchange, ServeConfig, serve};
use keyway_rpc::{Code, Error, MethodSpec, Request, Response, Route, Router};
use resolver::get_secrets_response::Envelope;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

static REGISTER: MethodSpec = MethodSpec::unary("/plugins.v1.RegisterService/RegisterPlugin");
static SHUTDOWN: MethodSpec = MethodSpec::unary("/plugins.v1.PluginService/Shutdown");
static GET_SECRETS: MethodSpec = MethodSpec::unary("/resolver.v1.ResolverService/GetSecrets");

/// Runs a test on one thread, as a plugin process does.
fn block_on(test: impl Future<Output = ()>) {
    value("demo/big");
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime
        .enable_all()
        .build()
        .expect("a runtime can be made")
        .block_on(test);
}

/// Reads an HTTP head byte for byte, so that nothing behind it is lost.
async fn read_head(stream: &mut UnixStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("the peer sends a head"));
    }
    String::from_utf8(head).expect("a head is text")
}

/// Serves routes and `/health` on every stream that the peer opens.
fn spawn_server(tasks: &mut JoinSet<()>, session: &Session, router: Router) {
    let service = router.with_fallback(Health);
    let listener = Listener::new(session.clone());
    let closed = session.closed();
    tasks.spawn(async move {
        let until = async {
            // Why it closed is the driver's to tell.
            let _ = closed.await;
        };
        serve(
            listener,
            move |_| service.clone(),
            ServeConfig::default(),
            until,
        )
        .await;
    });
}

#[derive(Clone)]
struct Health;

impl<B> tower_service::Service<http::Request<B>> for Health {
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

async fn answer(
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

fn provider(stop: &Arc<Notify>) -> Router {
    let stop = Arc::clone(stop);
    let shutdown = move |_: Request<plugins::ShutdownRequest>| {
        stop.notify_one();
        std::future::ready(Ok(Response::new(plugins::ShutdownResponse {})))
    };
    Router::new()
        .add_route(Route::unary(&GET_SECRETS, answer))
        .add_route(Route::unary(&SHUTDOWN, shutdown))
}

/// Plays a plugin on the bare layers until the Go runtime stops it.
async fn be_a_plugin(home: &Home) {
    let mut stream = UnixStream::connect(home.socket())
        .await
        .expect("the runtime listens");
    let ask =
        "GET /hijack HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n";
    stream
        .write_all(ask.as_bytes())
        .await
        .expect("the runtime reads");
    assert!(read_head(&mut stream).await.contains(" 101 "));

    let (session, driver) = Session::new(stream, Role::Client, Config::default());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { driver.await.expect("the connection ends cleanly") });
    let stop = Arc::new(Notify::new());
    spawn_server(&mut tasks, &session, provider(&stop));

    let client = Client::new(Exchange::new(Connector::new(session.clone())));
    let provider = plugins::SecretsProvider {
        pattern: Some("demo/**".to_owned()),
    };
    let metadata = plugins::register_plugin_request::Metadata::SecretsProvider(provider);
    let request = plugins::RegisterPluginRequest {
        name: Some("demo".to_owned()),
        version: Some("v1.2.3".to_owned()),
        metadata: Some(metadata),
    };
    let accepted: Response<plugins::RegisterPluginResponse> = client
        .unary(&REGISTER, Request::new(request))
        .await
        .expect("the runtime accepts");
    assert_eq!(
        accepted.message().engine_name.as_deref(),
        Some("go-runtime")
    );

    tokio::select! {
        () = stop.notified() => {}
        ended = session.closed() => panic!("the connection ended before Shutdown: {ended:?}"),
    }
    session.close().await.expect("the session closes cleanly");
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no task panics");
    }
    assert_eq!(session.stats().open_streams, 0);
}

fn go_runtime(go: &GoPrograms, home: &Home, arguments: &[&str]) -> Peer {
    let socket = home.socket();
    let mut all = vec!["-listen", socket.to_str().expect("the path is text")];
    all.extend(arguments);
    let mut runtime = Peer::start(go, "runtime", &home.path(""), &all);
    runtime.wait_for("ready");
    runtime
}

#[test]
fn a_plugin_on_the_bare_layers_serves_a_go_runtime() {
    let Some(go) = go_programs() else { return };
    let home = Home::new();
    let runtime = go_runtime(
        &go,
        &home,
        &[
            "-requests",
            "4000",
            "-callers",
            "64",
            "-slow",
            "64",
            "-goaway",
        ],
    );
    block_on(be_a_plugin(&home));
    let report = runtime.passed();
    let stop = report.summary()["stop_ms"]
        .as_u64()
        .expect("the stop was measured");
    assert!(stop < 500, "the stop took {stop} ms");
}

/// Four values of 8 MiB in an unoptimised build keep the one thread busy for
/// longer than a second, so the limit is wider here.
#[test]
fn large_values_pass_through_the_bare_layers() {
    let Some(go) = go_programs() else { return };
    let home = Home::new();
    let arguments = ["-requests", "1", "-big", "4", "-stream-open-timeout", "20s"];
    let runtime = go_runtime(&go, &home, &arguments);
    block_on(be_a_plugin(&home));
    runtime.passed();
}

#[test]
fn keep_alives_pass_in_both_directions() {
    let Some(go) = go_programs() else { return };
    let home = Home::new();
    let runtime = go_runtime(
        &go,
        &home,
        &["-requests", "1", "-keep-alive", "50ms", "-idle", "1s"],
    );
    block_on(be_a_plugin(&home));
    runtime.passed();
}

/// A runtime on the bare layers, for one Go plugin.
struct Host {
    session: Session,
    tasks: JoinSet<()>,
}

impl Host {
    async fn accept(listener: UnixListener) -> Self {
        let (mut stream, _) = listener.accept().await.expect("the plugin comes");
        assert!(read_head(&mut stream).await.starts_with("GET /hijack "));
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n";
        stream
            .write_all(answer.as_bytes())
            .await
            .expect("the plugin reads");
        let (session, driver) = Session::new(stream, Role::Server, Config::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { driver.await.expect("the connection ends cleanly") });
        let registered = Arc::new(Notify::new());
        let tell = Arc::clone(&registered);
        let register = move |_: Request<plugins::RegisterPluginRequest>| {
            tell.notify_one();
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
        let router = Router::new().add_route(Route::unary(&REGISTER, register));
        spawn_server(&mut tasks, &session, router);
        registered.notified().await;
        Self { session, tasks }
    }

    fn client(&self) -> Client<Exchange<Connector>> {
        Client::new(Exchange::new(Connector::new(self.session.clone())))
    }
}

async fn get(client: &Client<Exchange<Connector>>, id: &str) -> Result<Vec<u8>, Error> {
    let request = Request::new(resolver::GetSecretsRequest {
        pattern: Some(id.to_owned()),
    });
    let answer: Response<resolver::GetSecretsResponse> =
        client.unary(&GET_SECRETS, request).await?;
    let answer = answer.into_message();
    assert_eq!(answer.envelopes.len(), 1);
    Ok(answer.envelopes[0].value.clone().unwrap_or_default())
}

/// Makes `count` calls at a time until `total` were made.
async fn load(host: &Host, total: usize, callers: usize, id: &'static str) {
    let expected = Arc::new(value(id));
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let (client, expected) = (host.client(), Arc::clone(&expected));
        tasks.spawn(async move {
            for _ in 0..total / callers {
                assert_eq!(
                    get(&client, id).await.expect("the plugin answers"),
                    *expected
                );
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("every call is answered");
    }
}

/// GoAway(0) while calls are being served: they are answered, and more may be
/// made.
async fn go_away_in_the_middle(host: &Host) {
    let client = host.client();
    let mut slow = JoinSet::new();
    for _ in 0..8 {
        let client = client.clone();
        slow.spawn(async move { get(&client, "demo/slow").await });
    }
    while host.session.stats().open_streams < 8 {
        tokio::task::yield_now().await;
    }
    host.session.go_away();
    while let Some(answer) = slow.join_next().await {
        let answer = answer
            .expect("no task panics")
            .expect("a call in flight is answered");
        assert_eq!(answer, value("demo/slow"));
    }
    assert_eq!(
        get(&client, "demo/hit").await.expect("the plugin answers"),
        value("demo/hit")
    );
}

async fn be_a_runtime(listener: UnixListener) {
    let mut host = Host::accept(listener).await;
    let client = host.client();
    assert_eq!(
        get(&client, "demo/hit").await.expect("the plugin answers"),
        value("demo/hit")
    );
    let missing = get(&client, "demo/missing").await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    let broken = get(&client, "demo/broken").await.unwrap_err();
    assert_eq!(broken.code(), Code::Internal);
    let panicked = get(&client, "demo/panic").await.unwrap_err();
    assert_eq!(panicked.code(), Code::Unavailable);
    load(&host, 4_000, 64, "demo/hit").await;
    load(&host, 64, 64, "demo/slow").await;
    load(&host, 4, 4, "demo/big").await;
    go_away_in_the_middle(&host).await;

    let started = Instant::now();
    let shutdown = Request::new(plugins::ShutdownRequest {});
    let _: Response<plugins::ShutdownResponse> = client
        .unary(&SHUTDOWN, shutdown)
        .await
        .expect("the plugin answers");
    host.session
        .close()
        .await
        .expect("the session closes cleanly");
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "the stop took {:?}",
        started.elapsed()
    );
    while let Some(ended) = host.tasks.join_next().await {
        ended.expect("no task panics");
    }
    assert_eq!(host.session.stats().open_streams, 0);
}

#[test]
fn a_runtime_on_the_bare_layers_asks_a_go_plugin() {
    let Some(go) = go_programs() else { return };
    let home = Home::new();
    let socket = home.socket();
    let mut plugin = None;
    block_on(async {
        let listener = UnixListener::bind(&socket).expect("the socket is ours");
        let at = socket.to_str().expect("the path is text");
        let arguments = ["-socket", at, "-name", "demo", "-stream-open-timeout", "1s"];
        plugin = Some(Peer::start(&go, "plugin", &home.path(""), &arguments));
        be_a_runtime(listener).await;
    });
    let report = plugin.expect("it was started").passed();
    assert_eq!(report.summary()["cancelled"], 0);
    let drain = report.summary()["drain_ms"]
        .as_u64()
        .expect("the drain was measured");
    assert!(drain < 500, "the plugin's drain took {drain} ms");
}
