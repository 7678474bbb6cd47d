//! The same call by the `ttrpc` crate: frames on a socket, without HTTP.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;

use prost::Message;
use tokio::net::UnixStream;
use ttrpc::r#async::transport::{Listener, Socket};
use ttrpc::r#async::{Client, MethodHandler, Server, Service, TtrpcContext};
use ttrpc::proto::{RequestInit, ResponseInit};
use ttrpc::{Code, Request, Response, get_status};

use super::{Contender, Payload};

/// One connection for all calls. ttrpc starts tasks for each connection and each call.
pub struct Ttrpc {
    client: Client,
    _server: Server,
}

impl Contender for Ttrpc {
    async fn start() -> Self {
        let (near, far) = UnixStream::pair().expect("a socket pair");
        let echo: Box<dyn MethodHandler + Send + Sync> = Box::new(Echo);
        let service = Service {
            methods: HashMap::from([("Echo".to_owned(), echo)]),
            streams: HashMap::new(),
        };
        let listener = Listener::new(tokio_stream::once(Ok(far)));
        let mut server = Server::new()
            .add_listener(listener)
            .register_service(HashMap::from([("bench.Echo".to_owned(), service)]));
        server.start().await.expect("a listener was given");
        Self {
            client: Client::new(Socket::new(near)),
            _server: server,
        }
    }

    async fn call(&mut self) {
        let sent = Payload::sample();
        let mut request = Request::init_request("bench.Echo".into(), "Echo".into(), 0, Vec::new());
        request.set_payload(sent.encode_to_vec());
        let response = self.client.request(request).await;
        let response = response.expect("the server responds");
        let response = Payload::decode(response.payload()).expect("the message comes back");
        assert_eq!(response, sent);
    }
}

struct Echo;

impl MethodHandler for Echo {
    // The expansion of the trait's `async fn` by `async_trait`.
    fn handler<'a, 'r>(
        &'a self,
        _: TtrpcContext,
        request: Request,
    ) -> Pin<Box<dyn Future<Output = ttrpc::Result<Response>> + Send + 'r>>
    where
        'a: 'r,
        Self: 'r,
    {
        Box::pin(async move {
            let message = Payload::decode(request.payload());
            let message = message.map_err(|error| ttrpc::Error::Others(error.to_string()))?;
            let mut response = Response::init_status(get_status(Code::OK, ""));
            response.set_payload(message.encode_to_vec());
            Ok(response)
        })
    }
}
