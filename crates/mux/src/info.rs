//! The facts of a stream that request handlers read.

use std::{any::Any, sync::Arc};

use crate::{config::Role, error::StreamId};

/// The facts of the peer of a session, of any type. `Debug` shows nothing of them, because they may be sensitive.
pub(crate) type PeerFacts = Arc<dyn Any + Send + Sync>;

/// The facts of one stream: its id, the role of this end, and the facts of the peer.
///
/// It reaches request handlers as axum's `ConnectInfo` and tonic's connection info, and clients as an extension
/// of hyper-util's responses; other code uses [`Stream::info`](crate::Stream::info).
#[derive(Clone, Debug)]
pub struct StreamInfo {
    pub(crate) id: StreamId,
    pub(crate) role: Role,
    pub(crate) peer: Option<PeerFacts>,
}

impl StreamInfo {
    /// Returns the id of the stream on the wire.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Returns the role of this end of the session.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Returns the facts that [`Session::with_peer`](crate::Session::with_peer) attached, for instance the credentials
    /// that the kernel reports of the peer. `None` if there are none, or of another type.
    pub fn peer<T: Any>(&self) -> Option<&T> {
        self.peer.as_deref()?.downcast_ref()
    }
}
