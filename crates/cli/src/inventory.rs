//! The daemon's plugins, as any daemon of the protocol lists them.

use std::time::{Duration, SystemTime};

use keyway_proto::keyway::v1 as keyway;
use keyway_proto::plugins::v1 as plugins;
use keyway_proto::timestamp;
use keyway_resolver::{DaemonSocket, Pattern, ResolveError, Resolver};
use keyway_rpc::Code;
use serde::Serialize;
use serde::Serializer;

use crate::output::rfc3339;

/// How long a listing may take that only completes a message.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A plugin, as `keyway plugins --json` shows it. What a daemon does not say is empty, zero or `null`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Plugin {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) kind: Kind,
    /// The effective realm. The first pattern alone is `realm`, for scripts that know no more.
    pub(crate) realm: Option<String>,
    pub(crate) realms: Vec<String>,
    /// Its place among the providers, 1 first.
    pub(crate) rank: Option<u32>,
    pub(crate) priority: Option<i64>,
    pub(crate) status: Status,
    pub(crate) started_by: &'static str,
    /// Whether it can be enabled and disabled.
    pub(crate) configurable: bool,
    /// What `enabled` in the configuration says.
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
}

/// What a plugin is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Provider,
    AccessControl,
    #[default]
    Unknown,
}

impl Kind {
    /// For the user.
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
            /// Not running, and the daemon does not say why.
            Stopped,
            /// The daemon does not say.
            #[default]
            Unknown,
        }

        impl Status {
            /// For the user.
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

/// A request that a plugin failed.
#[derive(Debug, Serialize)]
pub(crate) struct FailedRequest {
    #[serde(serialize_with = "serialize_time")]
    pub(crate) time: Option<SystemTime>,
    /// The kind of failure, as in `LOCKED`.
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
    /// Whether the plugin provides secrets that the pattern may match, as far as is known.
    pub(crate) fn may_answer(&self, pattern: &Pattern) -> bool {
        let mut realm = self.realm();
        self.kind != Kind::AccessControl
            && (self.realms.is_empty() || realm.any(|realm| realm.overlaps(pattern)))
    }

    /// The patterns of its effective realm.
    pub(crate) fn realm(&self) -> impl Iterator<Item = Pattern> {
        self.realms
            .iter()
            .filter_map(|pattern| pattern.parse().ok())
    }

    /// Whether it is no candidate of any query until the user changes that.
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
                // A time that cannot be read is not shown.
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

/// All plugins that the daemon knows: in rank order from Keyway's own service, and from the reference's where that is not
/// served or not for this user.
pub(crate) async fn list(daemon: &Resolver<DaemonSocket>) -> Result<Vec<Plugin>, ResolveError> {
    let client = keyway::ManagementServiceClient::from(daemon.rpc());
    match client.list_plugins(keyway::ListPluginsRequest {}).await {
        Ok(answer) => {
            let listed = answer.into_message().plugins.into_iter();
            return Ok(listed.map(Plugin::from).collect());
        }
        Err(error) if matches!(error.code(), Code::Unimplemented | Code::PermissionDenied) => {}
        Err(error) => return Err(error.into()),
    }
    let client = plugins::PluginManagementServiceClient::from(daemon.rpc());
    let answer = client.list_plugins(plugins::ListPluginsRequest {}).await?;
    let listed = answer.into_message().plugins.into_iter();
    Ok(listed.map(Plugin::from).collect())
}

/// The names of the providers whose realm is `**`: none if the daemon does not list them in time.
pub(crate) async fn unlimited(daemon: &Resolver<DaemonSocket>) -> Vec<String> {
    let daemon = daemon.clone().with_timeout(TIMEOUT);
    let plugins = list(&daemon).await.unwrap_or_default().into_iter();
    let unlimited = plugins.filter(|plugin| plugin.realms.iter().any(|realm| realm == "**"));
    unlimited.map(|plugin| plugin.name).collect()
}
