//! Streams as connections of tonic's server, which takes a [`Listener`](crate::Listener) in
//! `serve_with_incoming_shutdown`. Its channel takes a [`Connector`](crate::Connector) as it is.

use tonic::transport::server::Connected;

use crate::{info::StreamInfo, io::Stream};

/// Handlers find the stream's facts in the extensions of their request.
impl Connected for Stream {
    type ConnectInfo = StreamInfo;

    fn connect_info(&self) -> StreamInfo {
        self.info()
    }
}
