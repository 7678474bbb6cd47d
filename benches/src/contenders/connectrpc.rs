//! The same call by the `connectrpc` crate, with the messages of its own library (`buffa`).

use buffa_types::google::protobuf::{BytesValue, BytesValueView};
use connectrpc::client::{CallOptions, ClientBody, ClientConfig, ServiceTransport, call_unary};
use connectrpc::{ConnectRpcService, Router, Spec, StreamType, handler_fn};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::UnixStream;
use tokio::task::spawn_local;

use super::kept_alive::KeptAlive;
use super::{Contender, Payload};

const ECHO: Spec = Spec::client("/bench.Echo/Echo", StreamType::Unary);

/// One HTTP/1.1 connection for all calls, as for [`RpcKeptAlive`](super::RpcKeptAlive).
pub struct ConnectRpc {
    transport: ServiceTransport<KeptAlive<ClientBody>>,
    config: ClientConfig,
}

impl Contender for ConnectRpc {
    async fn start() -> Self {
        let (near, far) = UnixStream::pair().expect("a socket pair");
        spawn_local(async move {
            let echo = handler_fn(|_, request: BytesValue| async move {
                Ok::<_, connectrpc::ConnectError>(connectrpc::Response::from(request))
            });
            let router = Router::new().route("bench.Echo", "Echo", echo);
            let service = TowerToHyperService::new(ConnectRpcService::new(router));
            let mut builder = http1::Builder::new();
            builder.auto_date_header(false);
            let served = builder.serve_connection(TokioIo::new(far), service).await;
            served.expect("the client is well-behaved");
        });
        let origin = http::Uri::from_static("http://localhost");
        Self {
            transport: ServiceTransport::new(KeptAlive::connect(near).await),
            config: ClientConfig::new(origin),
        }
    }

    async fn call(&mut self) {
        // The encoding is that of `Payload`: one field of bytes with the number 1.
        let sent = BytesValue {
            value: Payload::sample().data,
            ..BytesValue::default()
        };
        let (transport, config) = (&self.transport, &self.config);
        let options = CallOptions::default();
        let response = call_unary::<_, _, BytesValueView<'static>>(
            transport,
            config,
            ECHO,
            sent.clone(),
            options,
        );
        let response = response.await.expect("the server responds").into_owned();
        assert_eq!(response.value, sent.value);
    }
}
