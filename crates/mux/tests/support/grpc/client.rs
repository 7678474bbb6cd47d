//! The client of the service.

use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt, stream};
use http::uri::PathAndQuery;
use tonic::{Request, Status, Streaming, transport::Channel};

use super::{
    message, messages,
    service::{BOTH, DOWN, ECHO, HANG, PEER, Plain, UP},
};

/// The service's client.
#[derive(Clone)]
pub(crate) struct Client(tonic::client::Grpc<Channel>);

impl Client {
    pub(super) fn new(channel: Channel) -> Self {
        Self(tonic::client::Grpc::new(channel))
    }

    async fn unary(
        &mut self,
        path: &'static str,
        request: Request<Bytes>,
    ) -> Result<Bytes, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static(path);
        Ok(self.0.unary(request, path, Plain).await?.into_inner())
    }

    async fn ready(&mut self) -> Result<(), Status> {
        let ready = self.0.ready().await;
        ready.map_err(|error| Status::unavailable(error.to_string()))
    }

    pub(crate) async fn echo(&mut self, message: Bytes) -> Result<Bytes, Status> {
        self.unary(ECHO, Request::new(message)).await
    }

    pub(crate) async fn peer(&mut self) -> Result<Bytes, Status> {
        self.unary(PEER, Request::new(Bytes::new())).await
    }

    /// Calls the method that never responds.
    pub(crate) async fn hang(&mut self, deadline: Option<Duration>) -> Result<Bytes, Status> {
        let mut request = Request::new(message(0, 1000));
        if let Some(deadline) = deadline {
            request.set_timeout(deadline);
        }
        self.unary(HANG, request).await
    }

    /// Requests [`messages`].
    pub(crate) async fn down(
        &mut self,
        count: usize,
        len: usize,
    ) -> Result<Streaming<Bytes>, Status> {
        self.ready().await?;
        let wanted = [count as u64, len as u64].map(u64::to_be_bytes).concat();
        let path = PathAndQuery::from_static(DOWN);
        let request = Request::new(Bytes::from(wanted));
        let response = self.0.server_streaming(request, path, Plain).await?;
        Ok(response.into_inner())
    }

    /// Sends [`messages`]; the response is their number.
    pub(crate) async fn up(&mut self, count: usize, len: usize) -> Result<usize, Status> {
        self.ready().await?;
        let head = Bytes::copy_from_slice(&(len as u64).to_be_bytes());
        let sent = stream::iter([head]).chain(messages(count, len));
        let path = PathAndQuery::from_static(UP);
        let response = self.0.client_streaming(Request::new(sent), path, Plain);
        Ok(response.await?.into_inner().get_u64() as usize)
    }

    /// Sends messages, each of which is echoed.
    pub(crate) async fn both(
        &mut self,
        sent: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Streaming<Bytes>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static(BOTH);
        let response = self.0.streaming(Request::new(sent), path, Plain).await?;
        Ok(response.into_inner())
    }
}
