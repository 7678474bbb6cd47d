//! The view that the rest of the daemon has of a plugin: everything that is shown or decided about it at one moment.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use keyway_local::is_stopped;
use keyway_proto::keyway::v1::{FailureKind, PluginState};
use rustix::process::Pid;

use super::call_record::CallRecord;
use super::calls::{CallError, Handle};
use super::registration::Registration;
use crate::config::PluginSettings;
use crate::model::{Class, Kind, PluginName, Rank, Realm};

/// One plugin at one moment.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) name: PluginName,
    pub(crate) class: Class,
    pub(crate) settings: Arc<PluginSettings>,
    /// The state as tables show it.
    pub(crate) state: PluginState,
    /// The treatment of a query.
    pub(crate) availability: Availability,
    /// The kind of the plugin, if it is known.
    pub(crate) kind: Option<Kind>,
    /// Its rank, if it is a provider.
    pub(crate) rank: Rank,
    /// Its effective realm; `None` if that is not known or if it is not a provider.
    pub(crate) realm: Option<Realm>,
    /// Its last registration in this run of the daemon.
    pub(crate) registration: Option<Arc<Registration>>,
    /// Its process, while it has one.
    pub(crate) pid: Option<i32>,
    pub(crate) executable: Option<PathBuf>,
    /// Human-readable reason why it is not running; while it is, empty or how the decision of the user differs from the
    /// configuration.
    pub(crate) message: String,
    pub(crate) n_restarts: u64,
    pub(crate) record: Arc<CallRecord>,
}

/// The meaning of a plugin's state for a query in its realm.
#[derive(Debug, Clone)]
pub(crate) enum Availability {
    /// It is called.
    Running(Arc<Handle>),
    /// It is waited for, at most until this time. The start of a file whose first registration failed before is not
    /// awaited.
    Starting { until: Instant, is_awaited: bool },
    /// It has failed already.
    Failed {
        kind: FailureKind,
        /// The time of the next start by itself.
        next_start: Option<Instant>,
    },
    /// Not a candidate: disabled, available or untrusted.
    Excluded,
}

impl View {
    /// Returns the handle, if the plugin is running.
    pub(crate) fn handle(&self) -> Option<&Arc<Handle>> {
        match &self.availability {
            Availability::Running(handle) => Some(handle),
            _ => None,
        }
    }

    /// Returns `true` if it may become any kind of plugin: it is starting, and its kind is not known.
    pub(crate) fn may_be_anything(&self) -> bool {
        self.kind.is_none()
            && matches!(
                self.availability,
                Availability::Starting {
                    is_awaited: true,
                    ..
                }
            )
    }

    /// Returns the view with other settings: rank and effective realm follow.
    pub(crate) fn with_settings(&self, settings: Arc<PluginSettings>) -> Self {
        let interactive = self.registration.as_ref().map_or_else(
            || settings.interactive.unwrap_or_default(),
            |registration| registration.is_interactive(&settings),
        );
        let realm = match &self.kind {
            Some(Kind::Provider(patterns)) => Some(Realm::new(patterns, settings.realm.as_deref())),
            _ => None,
        };
        Self {
            rank: Rank {
                priority: settings.priority,
                class: self.class,
                interactive,
            },
            realm,
            settings,
            ..self.clone()
        }
    }

    /// Returns the version that it registered with; empty before it did.
    pub(crate) fn version(&self) -> &str {
        self.registration
            .as_ref()
            .map_or("", |registration| &registration.version)
    }

    /// Returns `true` if a call may ask the user or has an effect.
    pub(crate) fn is_interactive(&self) -> bool {
        self.rank.interactive
    }

    /// Returns the process of the plugin if a signal or a debugger has stopped it, so that a call failed with `error`.
    pub(crate) fn stopped_process(&self, error: &CallError) -> Option<i32> {
        let is_stopped = |pid: &i32| Pid::from_raw(*pid).is_some_and(is_stopped);
        self.pid.filter(|_| error.is_overdue()).filter(is_stopped)
    }

    /// Returns `true` if it is external.
    pub(crate) fn is_external(&self) -> bool {
        self.class == Class::External
    }
}
