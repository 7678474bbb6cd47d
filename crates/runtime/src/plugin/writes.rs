//! Calls of a plugin that stores secrets for clients.

use keyway_proto::keyway::store::v1 as store;
use keyway_rpc::Response;

use super::calls::{CallContext, CallError, Handle};

/// Forgets every shared and kept response of a plugin when it is dropped: also if the caller of the write leaves, because the write
/// may still happen.
struct ForgetResponses<'a>(&'a Handle);

impl Drop for ForgetResponses<'_> {
    fn drop(&mut self) {
        self.0.flights().clear();
    }
}

impl Handle {
    /// Stores a value.
    pub(crate) async fn set(
        &self,
        message: store::SetRequest,
        context: &CallContext,
    ) -> Result<store::SetResponse, CallError> {
        let _forget = ForgetResponses(self);
        let response = self.call(message, context, |request| self.store.set(request));
        response.await.map(Response::into_message)
    }

    /// Removes a secret or one of its versions.
    pub(crate) async fn remove(
        &self,
        message: store::RemoveRequest,
        context: &CallContext,
    ) -> Result<store::RemoveResponse, CallError> {
        let _forget = ForgetResponses(self);
        let response = self.call(message, context, |request| self.store.remove(request));
        response.await.map(Response::into_message)
    }

    /// Lists the stored versions of a secret.
    pub(crate) async fn versions(
        &self,
        message: store::VersionsRequest,
        context: &CallContext,
    ) -> Result<store::VersionsResponse, CallError> {
        let response = self.call(message, context, |request| self.store.versions(request));
        response.await.map(Response::into_message)
    }

    /// Makes the value of an earlier version the current one.
    pub(crate) async fn restore(
        &self,
        message: store::RestoreRequest,
        context: &CallContext,
    ) -> Result<store::RestoreResponse, CallError> {
        let _forget = ForgetResponses(self);
        let response = self.call(message, context, |request| self.store.restore(request));
        response.await.map(Response::into_message)
    }
}
