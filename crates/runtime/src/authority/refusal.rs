//! The reasons why a caller may not take an action.

use keyway_local::shortened;
use keyway_rpc::{Code, Error};
use keyway_secrets::{Id, Pattern};

use super::action::Purpose;
use crate::model::PluginName;

/// The reason why a caller may not take an action. The text is two sentences: the refusal with its reason, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Refusal {
    /// The daemon serves neither its own user nor a listed one here.
    #[error(
        "this user may not use the daemon. Add the uid to `allow_uids` in the daemon's configuration"
    )]
    UnknownUser,
    /// A user of `allow_uids` reads secrets and nothing else.
    #[error(
        "a user of `allow_uids` may not {}. Run the command as the user of the daemon",
        .0.verb()
    )]
    ReaderOnly(Purpose),
    /// A caller of another pid namespace at an abstract address.
    #[error(
        "a process of another pid namespace, as in a container, may not {} at an abstract address. Connect to the daemon at a path, \
         or set `[access] contained = true`",
        .0.verb()
    )]
    ContainedAtAbstractAddress(Purpose),
    /// A caller of another pid namespace reads secrets and nothing else.
    #[error(
        "a process of another pid namespace, as in a container, may not {}. Run the command outside of it",
        .0.verb()
    )]
    Contained(Purpose),
    /// A plugin, over its plugin connection.
    #[error(
        "a plugin may not {} over its own connection. Use the daemon's socket, where `[plugins.NAME] may_resolve` permits some ids",
        .0.verb()
    )]
    PluginConnection(Purpose),
    /// A process of a launched plugin.
    #[error("a process of the plugin {plugin} may not {}. Run the command outside of it", .purpose.verb())]
    PluginProcess {
        plugin: PluginName,
        purpose: Purpose,
    },
    /// A process of a launched plugin, about ids that its settings do not name.
    #[error(
        "a process of the plugin {plugin} may not resolve {}. Add the pattern to `[plugins.{plugin}] may_resolve` if it should",
        repeated(query.as_str())
    )]
    MayNotResolve { plugin: PluginName, query: Pattern },
    /// A process that a plugin left behind.
    #[error(
        "a process that descends from the daemon may not {}. Run the command from a shell that no plugin started",
        .0.verb()
    )]
    Descendant(Purpose),
    /// `[external] allow = false`.
    #[error(
        "external plugins are not allowed. Name the plugin in `[external] allow` of the daemon's configuration"
    )]
    NoExternalPlugins,
    /// A listed module is a guarantee that only the configuration takes back.
    #[error(
        "{0} is listed in `[access] modules` and cannot be disabled. Remove it from the configuration file and run `kill -HUP` with the \
         daemon's pid"
    )]
    ListedModule(PluginName),
    /// An id that denotes management or writes in calls to access-control modules.
    #[error(
        "the id {} is reserved for access-control modules and cannot be stored. Choose another id",
        repeated(.0.as_str())
    )]
    ReservedId(Id),
    /// A pattern of such ids, which is never resolved.
    #[error(
        "{} is reserved for access-control modules and is never resolved. Use the ids of secrets",
        repeated(.0.as_str())
    )]
    ReservedQuery(Pattern),
}

/// The longest part of a query that a message repeats, in characters.
const MAX_QUERY_CHARS: usize = 200;

fn repeated(query: &str) -> String {
    shortened(query, MAX_QUERY_CHARS)
}

impl Refusal {
    /// Returns the code towards the caller.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::ListedModule(_) => Code::FailedPrecondition,
            Self::ReservedId(_) => Code::InvalidArgument,
            _ => Code::PermissionDenied,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}
