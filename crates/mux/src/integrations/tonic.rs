//! Streams as connections of tonic's server. Its channel takes a
//! [`Connector`](crate::Connector) as it is.

use tonic::transport::server::Connected;

use crate::{info::StreamInfo, io::Stream};

impl Connected for Stream {
    type ConnectInfo = StreamInfo;

    fn connect_info(&self) -> StreamInfo {
        self.info()
    }
}
