//! `GetVersion`, as the daemon serves it on its sockets and on plugin connections.

use keyway_proto::health::v1::{GetVersionRequest, GetVersionResponse, VersionService};
use keyway_rpc::{Error, Request, Response};

use crate::config::VersionInfo;

/// The service that returns one version.
#[derive(Debug)]
pub(crate) struct Version(pub(crate) VersionInfo);

impl VersionService for Version {
    async fn get_version(
        &self,
        _request: Request<GetVersionRequest>,
    ) -> Result<Response<GetVersionResponse>, Error> {
        let Self(version) = self;
        Ok(Response::new(GetVersionResponse {
            version: Some(version.version.clone()),
            date: Some(version.date.clone()),
            commit_hash: Some(version.commit.clone()),
        }))
    }
}
