//! Writes of programs of Docker's ecosystem (`POST /internal/secrets`): by the rules of [`StoreService`](store::StoreService).

use keyway_proto::keyway::store::v1 as store;
use keyway_proto::write::Expected;
use keyway_rpc::{Error, Request, Response};

use super::Services;
use crate::server::docker::DockerWrite;

impl store::DockerService for Services {
    async fn store(
        &self,
        request: Request<store::DockerSecret>,
    ) -> Result<Response<store::SetResponse>, Error> {
        let Some(write) = request.extensions().get::<DockerWrite>().copied() else {
            return Err(Error::unimplemented("use `StoreService/Set`"));
        };
        let (parts, mut secret) = request.into_parts();
        let message = secret.take_set_request();
        let mut message =
            message.ok_or_else(|| Error::invalid_argument("the request has no value"))?;
        if message.value.as_ref().is_none_or(Vec::is_empty) {
            return Err(Error::invalid_argument("the value is empty"));
        }
        let expected = match write.overwrites {
            true => Expected::Any,
            false => Expected::Absent,
        };
        message.expected_version = expected.into_wire();
        store::StoreService::set(self, Request::from_parts(parts, message)).await
    }
}
