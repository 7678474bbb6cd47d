//! `GET /hijack`: how an external plugin turns its connection into a plugin connection.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use keyway_http::{OnUpgrade, RequestBody, Upgraded, has_token};
use keyway_local::with_causes;
use keyway_rpc::{Body, Error};
use tokio::sync::Semaphore;

use crate::authority::{Action, Authorizer};
use crate::caller::{Caller, Peer};
use crate::config::Current;
use crate::lines::{PeerLines, peer_event};
use crate::manager::ManagerHandle;
use crate::plugin::{self, OpenOptions};
use crate::record::{Audit, Outcome};

/// The protocol that a plugin upgrades to.
const PROTOCOL: HeaderValue = HeaderValue::from_static("tcp");

/// Authorizes upgrade requests and responds to them.
pub(super) struct Hijack {
    authorizer: Arc<Authorizer>,
    settings: Arc<Current>,
    manager: ManagerHandle,
    audit: Arc<Audit>,
    /// Log lines about connections that did not become a plugin's.
    lines: PeerLines,
    /// One permit for each connection that has upgraded and not registered yet.
    registering: Arc<Semaphore>,
}

/// The most external plugins that have connected and not registered yet. Their connections no longer count as clients.
const MAX_REGISTERING: usize = 64;

impl Hijack {
    pub(super) const PATH: &str = "/hijack";

    pub(super) fn new(
        authorizer: Arc<Authorizer>,
        settings: Arc<Current>,
        manager: ManagerHandle,
        audit: Arc<Audit>,
    ) -> Self {
        Self {
            authorizer,
            settings,
            manager,
            audit,
            lines: PeerLines::default(),
            registering: Arc::new(Semaphore::new(MAX_REGISTERING)),
        }
    }

    /// Returns 101, behind which the connection is a plugin's, or the reason against it.
    pub(super) async fn respond(self: Arc<Self>, request: &Request<RequestBody>) -> Response<Body> {
        let Some(peer) = request.extensions().get::<Arc<Peer>>().cloned() else {
            return refuse(
                StatusCode::FORBIDDEN,
                "the caller of this request is not known",
            );
        };
        if let Err(error) = self.permit(Caller::new(Arc::clone(&peer))).await {
            return refuse(StatusCode::FORBIDDEN, error.message().to_owned());
        }
        if request.method() != Method::GET {
            return refuse(
                StatusCode::METHOD_NOT_ALLOWED,
                "use GET to turn a connection into a plugin connection",
            );
        }
        if request.version() != Version::HTTP_11 || !requests_upgrade(request.headers()) {
            return refuse(
                StatusCode::UPGRADE_REQUIRED,
                "a plugin connection needs HTTP/1.1 with `Connection: upgrade` and `Upgrade: tcp`",
            );
        }
        let Ok(registering) = Arc::clone(&self.registering).try_acquire_owned() else {
            return refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many external plugins have connected and not registered yet",
            );
        };
        let mut response = Response::new(Body::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(UPGRADE, PROTOCOL);
        let upgrade = OnUpgrade::new(move |io| async move {
            self.connect(io, peer).await;
            drop(registering);
        });
        response.extensions_mut().insert(upgrade);
        response
    }

    async fn permit(&self, caller: Caller) -> Result<(), Error> {
        let permitted = self.authorizer.permit(&caller, &Action::Hijack).await;
        permitted.map(drop).inspect_err(|error| {
            self.audit.note("connect", &caller, &Outcome::failed(error));
        })
    }

    /// Waits for the registration of the external plugin and hands its connection over.
    async fn connect(&self, io: Upgraded, peer: Arc<Peer>) {
        let settings = self.settings.load();
        let options = OpenOptions {
            launched_as: None,
            process: peer.credentials.pid,
            limit: settings.config.start_timeout,
            keep_alive: settings.config.keep_alive,
            version: settings.config.version.clone(),
        };
        match plugin::open(io, options).await {
            Ok(registrant) => self.manager.connect(registrant, peer).await,
            Err(error) => {
                let why = with_causes(&error);
                peer_event!(self.lines, WARN, pid = peer.pid(), error = %why, "external plugin not accepted");
            }
        }
    }
}

fn requests_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, &CONNECTION, "upgrade") && has_token(headers, &UPGRADE, "tcp")
}

fn refuse(status: StatusCode, reason: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::full(reason));
    *response.status_mut() = status;
    // RFC 9110, sections 15.5.6, 15.5.22 and 7.8.
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET"));
        }
        StatusCode::UPGRADE_REQUIRED => {
            response.headers_mut().insert(UPGRADE, PROTOCOL);
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("upgrade"));
        }
        _ => {}
    }
    response
}
