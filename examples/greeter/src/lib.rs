//! A Connect service, its server and a client.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use http::Uri;
use keyway_http::{Exchange, Limits, Served, serve};
use keyway_rpc::{Error, Request, Response, Router};
use tokio::net::{TcpListener, TcpStream};

use tokio_stream::wrappers::TcpListenerStream;
use tower_service::Service;

/// The generated code.
pub mod greet {
    include!(concat!(env!("OUT_DIR"), "/greet.v1.rs"));
}

use greet::{
    GreetRequest, GreetResponse, GreetService, GreetServiceClient, GreetServiceServer, Language,
    TranslateRequest, TranslateResponse,
};

/// The service itself: one trait, one method for each `rpc`.
pub struct Greeter;

impl GreetService for Greeter {
    async fn greet(
        &self,
        request: Request<GreetRequest>,
    ) -> Result<Response<GreetResponse>, Error> {
        let name = &request.message().name;
        if name.is_empty() {
            return Err(Error::invalid_argument("`name` is empty"));
        }
        Ok(Response::new(GreetResponse {
            greeting: format!("Hello, {name}!"),
            at: Some(SystemTime::now().into()),
        }))
    }

    async fn translate(
        &self,
        request: Request<TranslateRequest>,
    ) -> Result<Response<TranslateResponse>, Error> {
        let greeting = match request.message().language() {
            Language::English => "Hello",
            Language::Italian => "Ciao",
            Language::Unspecified => return Err(Error::invalid_argument("`language` is not set")),
        };
        Ok(Response::new(TranslateResponse {
            greeting: greeting.to_owned(),
        }))
    }
}

/// Serves on a TCP port until `shutdown` resolves.
pub async fn run_server(listener: TcpListener, shutdown: impl Future<Output = ()>) -> Served {
    let router = Router::new().add_service(GreetServiceServer::new(Greeter));
    let connections = TcpListenerStream::new(listener);
    serve(
        connections,
        |_, _| router.clone(),
        Limits::default(),
        shutdown,
    )
    .await
}

/// Returns a client of the server at this address, which opens a new connection for each call.
pub fn client(address: SocketAddr) -> GreetServiceClient<Exchange<Dial>> {
    GreetServiceClient::new(Exchange::new(Dial(address)))
}

/// Connects to one address and ignores the URI.
#[derive(Clone)]
pub struct Dial(SocketAddr);

impl Service<Uri> for Dial {
    type Response = TcpStream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let address = self.0;
        Box::pin(TcpStream::connect(address))
    }
}
