//! The client of the workspace against a stock Connect server of Node.

mod stock;

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::HeaderValue;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use keyway_conformance::server::DESCRIPTORS_PATH;
use keyway_conformance::suite::conformance_payload::RequestInfo;
use keyway_conformance::suite::unary_response_definition::Response as Wanted;
use keyway_conformance::suite::{
    ConformanceServiceClient, Error as WantedError, Header, IdempotentUnaryRequest, UnaryRequest,
    UnaryResponseDefinition,
};
use keyway_http::Exchange;
use keyway_rpc::client::{Config, Transport};
use keyway_rpc::{Code, Codec, Request};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

/// A server of one version of HTTP, which runs until its input is closed.
struct Server {
    url: String,
    _input: ChildStdin,
    _child: Child,
}

impl Server {
    async fn start(version: &str) -> Result<Option<Self>> {
        let Some(folder) = stock::node()? else {
            return Ok(None);
        };
        let mut child = Command::new("node")
            .args(["server.mjs", version, DESCRIPTORS_PATH])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting node")?;
        let input = child.stdin.take().context("its input is a pipe")?;
        let output = child.stdout.take().context("its output is a pipe")?;
        let port = BufReader::new(output).lines().next_line().await?;
        let port = port.context("the server ended before it reported its port")?;
        Ok(Some(Self {
            url: format!("http://127.0.0.1:{port}"),
            _input: input,
            _child: child,
        }))
    }
}

/// A request for this response.
fn request_for(wanted: Wanted) -> UnaryRequest {
    let header = |name: &str, values: &[&str]| Header {
        name: name.to_owned(),
        value: values.iter().map(|&value| value.to_owned()).collect(),
    };
    UnaryRequest {
        response_definition: Some(UnaryResponseDefinition {
            response_headers: vec![header("x-response", &["1", "2"])],
            response_trailers: vec![header("x-after", &["3"])],
            response: Some(wanted),
            ..UnaryResponseDefinition::default()
        }),
        ..UnaryRequest::default()
    }
}

async fn messages_and_metadata_arrive<S: Transport>(
    client: &ConformanceServiceClient<S>,
) -> Result<()> {
    for size in [0, 5, 3_000_000] {
        let mut request = Request::new(request_for(Wanted::ResponseData(vec![b'x'; size])));
        let value = HeaderValue::from_static("why");
        request.metadata_mut().insert("x-request", value);
        let response = client.unary(request.timeout(Duration::from_secs(60)));
        let response = response.await?;
        ensure!(response.headers()["x-response"] == "1, 2");
        ensure!(response.trailers()["x-after"] == "3");
        let payload = response.into_message().payload.context("a payload")?;
        ensure!(payload.data.len() == size);
        let info = payload.request_info.context("what it saw")?;
        ensure!(info.timeout_ms.is_some_and(|left| left <= 60_000));
        let seen = |header: &&Header| header.name == "x-request";
        ensure!(info.request_headers.iter().any(|header| seen(&header)));
    }
    Ok(())
}

async fn errors_carry_everything<S: Transport>(client: &ConformanceServiceClient<S>) -> Result<()> {
    let wanted = WantedError {
        code: Code::NotFound as i32,
        message: Some("nothing such \u{201c}here\u{201d}\n".to_owned()),
        details: Vec::new(),
    };
    let failed = client.unary(request_for(Wanted::Error(wanted))).await;
    let error = failed.err().context("it should have failed")?;
    ensure!(error.code() == Code::NotFound, "{error}");
    ensure!(error.message() == "nothing such \u{201c}here\u{201d}\n");
    ensure!(error.received_metadata()["x-after"] == "3");
    let info = error.detail::<RequestInfo>()?;
    info.context("what it saw")?;
    let failed = client.unimplemented(Request::default()).await;
    let error = failed.err().context("it is left out")?;
    ensure!(error.code() == Code::Unimplemented, "{error}");
    Ok(())
}

async fn side_effect_free_methods_use_get<S: Transport>(
    client: &ConformanceServiceClient<S>,
) -> Result<()> {
    let request = IdempotentUnaryRequest {
        response_definition: request_for(Wanted::ResponseData(b"+ /".to_vec())).response_definition,
        ..IdempotentUnaryRequest::default()
    };
    let call = client.idempotent_unary(Request::new(request).get(true));
    let payload = call.await?.into_message().payload.context("a payload")?;
    let info = payload.request_info.context("what it saw")?;
    ensure!(info.connect_get_info.is_some() && payload.data == b"+ /");
    Ok(())
}

async fn deadlines_end_calls<S: Transport>(client: &ConformanceServiceClient<S>) -> Result<()> {
    let mut request = request_for(Wanted::ResponseData(Vec::new()));
    if let Some(definition) = &mut request.response_definition {
        definition.response_delay_ms = 60_000;
    }
    let failed = client.unary(Request::new(request).timeout(Duration::from_millis(100)));
    let error = failed.await.err().context("it should have failed")?;
    ensure!(error.code() == Code::DeadlineExceeded, "{error}");
    Ok(())
}

/// Every case with every codec, with gzip in both directions and without.
async fn all_cases<S: Transport>(server: &Server, transport: S) -> Result<()> {
    for (codec, gzip) in [
        (Codec::Proto, false),
        (Codec::Proto, true),
        (Codec::Json, false),
        (Codec::Json, true),
    ] {
        let mut config = Config::default().origin(server.url.parse()?).codec(codec);
        if gzip {
            config = config
                .accept_compression(true)
                .compression(keyway_rpc::Compression::Gzip { min_size: 0 });
        }
        let client = ConformanceServiceClient::with_config(transport.clone(), config);
        let case = |name| format!("{name} ({codec:?}, gzip: {gzip})");
        let done = messages_and_metadata_arrive(&client).await;
        done.with_context(|| case("messages"))?;
        let done = errors_carry_everything(&client).await;
        done.with_context(|| case("errors"))?;
        let done = side_effect_free_methods_use_get(&client).await;
        done.with_context(|| case("GET"))?;
        let done = deadlines_end_calls(&client).await;
        done.with_context(|| case("deadlines"))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_stock_server_of_node_understands_the_client() -> Result<()> {
    let Some(server) = Server::start("1.1").await? else {
        return Ok(());
    };
    let tcp = tower::service_fn(|uri: http::Uri| async move {
        tokio::net::TcpStream::connect(uri.authority().map_or("", |authority| authority.as_str()))
            .await
    });
    all_cases(&server, Exchange::new(tcp)).await?;
    let pool = legacy::Client::builder(TokioExecutor::new()).build_http::<keyway_rpc::Body>();
    all_cases(&server, pool).await
}

#[tokio::test]
async fn a_stock_server_of_node_understands_the_client_over_http2_as_well() -> Result<()> {
    let Some(server) = Server::start("2").await? else {
        return Ok(());
    };
    let mut pool = legacy::Client::builder(TokioExecutor::new());
    let pool = pool.http2_only(true).build_http::<keyway_rpc::Body>();
    all_cases(&server, pool).await
}
