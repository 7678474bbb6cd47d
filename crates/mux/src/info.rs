//! What a request handler may want to know of the stream that its request came on.

use std::{any::Any, fmt, sync::Arc};

use crate::{config::Role, error::StreamId};

/// Facts of one stream: its number, this end's role, and what is known of the peer.
///
/// It reaches request handlers as axum's `ConnectInfo`, tonic's connection info, and an extension
/// of responses of hyper-util's client; everybody else asks [`Stream::info`](crate::Stream::info).
#[derive(Clone)]
pub struct StreamInfo {
    pub(crate) id: StreamId,
    pub(crate) role: Role,
    pub(crate) peer: Option<Arc<dyn Any + Send + Sync>>,
}

impl StreamInfo {
    /// The number of the stream on the wire.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Which side of the session this end is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// What [`Config::peer`](crate::Config::peer) was given, for instance the credentials that
    /// the kernel told of the peer; `None` if it was given nothing or another type.
    pub fn peer<T: Any>(&self) -> Option<&T> {
        self.peer.as_deref()?.downcast_ref()
    }
}

impl fmt::Debug for StreamInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamInfo")
            .field("id", &self.id.get())
            .field("role", &self.role)
            .field("has_peer", &self.peer.is_some())
            .finish()
    }
}
