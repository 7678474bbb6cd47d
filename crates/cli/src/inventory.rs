//! The daemon's plugins, listed by any daemon of the protocol.

use std::time::{Duration, SystemTime};

use keyway_proto::keyway::v1 as keyway;
use keyway_proto::plugins::v1 as plugins;
use keyway_proto::timestamp;
use keyway_resolver::{DaemonSocket, Pattern, ResolveError, Resolver};
use keyway_rpc::Code;
use serde::Serialize;
use serde::Serializer;

use crate::output::rfc3339;

/// Timeout of a listing that only adds details to a message.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A plugin in the format of `keyway plugins --json`. Values that the daemon does not report are empty, zero or `null`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Plugin {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) kind: Kind,
    /// The first pattern of the effective realm, for scripts that support one pattern only.
    pub(crate) realm: Option<String>,
    pub(crate) realms: Vec<String>,
    /// The rank among the providers; 1 is first.
    pub(crate) rank: Option<u32>,
    pub(crate) priority: Option<i64>,
    pub(crate) status: Status,
    pub(crate) started_by: &'static str,
    /// `true` if the plugin can be enabled and disabled.
    pub(crate) configurable: bool,
    /// The value of `enabled` in the configuration.
    pub(crate) configured_enabled: Option<bool>,
    pub(crate) message: String,
    pub(crate) last_failed_request: Option<FailedRequest>,
    pub(crate) pid: Option<i32>,
    pub(crate) executable: String,
    pub(crate) requests: u64,
    pub(crate) failures: u64,
    pub(crate) restarts: u64,
    pub(crate) interactive: bool,
    pub(crate) required: bool,
    pub(crate) sha256: String,
    pub(crate) description: String,
    pub(crate) homepage: String,
    /// Requests that it is working on.
    pub(crate) in_flight: u32,
}

/// The kind of a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Provider,
    AccessControl,
    #[default]
    Unknown,
}

impl Kind {
    /// Returns the name in tables.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::AccessControl => "access control",
            Self::Unknown => "unknown",
        }
    }
}

macro_rules! states {
    ($($state:ident $word:literal,)*) => {
        /// The state of a plugin.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(crate) enum Status {
            $($state,)*
            /// Not running for an unreported reason.
            Stopped,
            /// Not reported by the daemon.
            #[default]
            Unknown,
        }

        impl Status {
            /// Returns the name in tables.
            pub(crate) fn word(self) -> &'static str {
                match self {
                    $(Self::$state => $word,)*
                    Self::Stopped => "stopped",
                    Self::Unknown => "unknown",
                }
            }
        }

        impl From<keyway::PluginState> for Status {
            fn from(state: keyway::PluginState) -> Self {
                match state {
                    $(keyway::PluginState::$state => Self::$state,)*
                    keyway::PluginState::Unspecified => Self::Unknown,
                }
            }
        }
    };
}

states! {
    Absent "absent",
    Available "available",
    Crashed "crashed",
    Disabled "disabled",
    Failed "failed",
    Refused "refused",
    Restarting "restarting",
    RetriesExceeded "retries exceeded",
    Running "running",
    Starting "starting",
    Untrusted "untrusted",
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.word().replace(' ', "_"))
    }
}

/// The last request that a plugin failed.
#[derive(Debug, Serialize)]
pub(crate) struct FailedRequest {
    #[serde(serialize_with = "serialize_time")]
    pub(crate) time: Option<SystemTime>,
    /// The kind of failure, such as `LOCKED`.
    pub(crate) kind: &'static str,
    pub(crate) message: String,
}

fn serialize_time<S: Serializer>(
    time: &Option<SystemTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(rfc3339).serialize(serializer)
}

impl Plugin {
    /// Returns `true` if the plugin may hold secrets that match `pattern`, as far as known.
    pub(crate) fn may_match(&self, pattern: &Pattern) -> bool {
        let mut realm = self.realm();
        self.kind != Kind::AccessControl
            && (self.realms.is_empty() || realm.any(|realm| realm.overlaps(pattern)))
    }

    /// Returns the patterns of its effective realm.
    pub(crate) fn realm(&self) -> impl Iterator<Item = Pattern> {
        self.realms
            .iter()
            .filter_map(|pattern| pattern.parse().ok())
    }

    /// Returns `true` if the plugin is not a candidate of any query until the user enables or trusts it.
    pub(crate) fn is_excluded(&self) -> bool {
        matches!(
            self.status,
            Status::Disabled | Status::Available | Status::Untrusted
        )
    }
}

impl From<keyway::PluginStatus> for Plugin {
    fn from(plugin: keyway::PluginStatus) -> Self {
        let class = plugin.class();
        Self {
            kind: match plugin.kind() {
                keyway::PluginKind::Provider => Kind::Provider,
                keyway::PluginKind::AccessControl => Kind::AccessControl,
                keyway::PluginKind::Unspecified => Kind::Unknown,
            },
            status: plugin.state().into(),
            started_by: match class {
                keyway::PluginClass::External => "user",
                _ => "daemon",
            },
            configurable: !matches!(
                plugin.state(),
                keyway::PluginState::Untrusted | keyway::PluginState::Refused
            ),
            requests: plugin.requests(),
            failures: plugin.failures(),
            restarts: plugin.restarts(),
            interactive: plugin.interactive(),
            required: plugin.required(),
            in_flight: plugin.in_flight(),
            rank: plugin.rank,
            priority: plugin.priority,
            pid: plugin.pid,
            configured_enabled: plugin.configured_enabled,
            realm: plugin.realm.first().cloned(),
            realms: plugin.realm,
            name: plugin.name.unwrap_or_default(),
            version: plugin.version.unwrap_or_default(),
            message: plugin.message.unwrap_or_default(),
            executable: plugin.executable.unwrap_or_default(),
            sha256: plugin.sha256.unwrap_or_default(),
            description: plugin.description.unwrap_or_default(),
            homepage: plugin.homepage.unwrap_or_default(),
            last_failed_request: plugin.last_failed_request.map(|request| FailedRequest {
                // An invalid time is not shown.
                time: timestamp::from_wire(request.time).unwrap_or_default(),
                kind: request.kind().name(),
                message: request.message.unwrap_or_default(),
            }),
        }
    }
}

impl From<plugins::Plugin> for Plugin {
    fn from(plugin: plugins::Plugin) -> Self {
        use plugins::plugin::Metadata;
        let status = match plugin.run_status() {
            _ if plugin.disabled() => Status::Disabled,
            plugins::RunStatus::Running => Status::Running,
            plugins::RunStatus::Stopped => Status::Stopped,
            plugins::RunStatus::Crashed => Status::Crashed,
            plugins::RunStatus::RetriesExceeded => Status::RetriesExceeded,
            plugins::RunStatus::Unspecified => Status::Unknown,
        };
        let started_by = if plugin.external() { "user" } else { "daemon" };
        let configurable = plugin.configurable();
        let (kind, realm) = match plugin.metadata {
            Some(Metadata::SecretsProvider(provider)) => (Kind::Provider, provider.pattern),
            Some(Metadata::AccessControlModule(_)) => (Kind::AccessControl, None),
            None => (Kind::Unknown, None),
        };
        Self {
            name: plugin.name.unwrap_or_default(),
            version: plugin.version.unwrap_or_default(),
            message: plugin.status_message.unwrap_or_default(),
            realms: realm.iter().cloned().collect(),
            kind,
            realm,
            status,
            started_by,
            configurable,
            ..Self::default()
        }
    }
}

/// Lists all plugins of the daemon in rank order. Falls back to the reference's service, which has no ranks, if Keyway's
/// own is not implemented or not permitted.
///
/// # Errors
///
/// Returns a [`ResolveError`] if neither service lists them.
pub(crate) async fn list(daemon: &Resolver<DaemonSocket>) -> Result<Vec<Plugin>, ResolveError> {
    let client = keyway::ManagementServiceClient::from(daemon.rpc());
    match client.list_plugins(keyway::ListPluginsRequest {}).await {
        Ok(response) => {
            let listed = response.into_message().plugins.into_iter();
            return Ok(listed.map(Plugin::from).collect());
        }
        Err(error) if matches!(error.code(), Code::Unimplemented | Code::PermissionDenied) => {}
        Err(error) => return Err(error.into()),
    }
    let client = plugins::PluginManagementServiceClient::from(daemon.rpc());
    let response = client.list_plugins(plugins::ListPluginsRequest {}).await?;
    let listed = response.into_message().plugins.into_iter();
    Ok(listed.map(Plugin::from).collect())
}

/// Returns the names of the providers whose realm is `**`; none if the daemon does not list them within [`TIMEOUT`].
pub(crate) async fn unrestricted(daemon: &Resolver<DaemonSocket>) -> Vec<String> {
    let daemon = daemon.clone().with_timeout(TIMEOUT);
    let plugins = list(&daemon).await.unwrap_or_default().into_iter();
    let unrestricted = plugins.filter(|plugin| plugin.realms.iter().any(|realm| realm == "**"));
    unrestricted.map(|plugin| plugin.name).collect()
}
