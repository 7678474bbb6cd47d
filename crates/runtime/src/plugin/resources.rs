//! The resources that the states of a plugin hold in the daemon, and how they are made.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;

use keyway_proto::{LAUNCH_VARIABLE, LaunchConfig};

use super::connection::{self, OpenError, OpenOptions, PluginConnection, Registrant};
use super::ending::{ChildProcess, end_failed, end_gracefully};
use super::host::Host;
use super::machine::Actions;
use super::source::LaunchSource;
use super::state::{Resources, State};
use crate::config::PluginSettings;
use crate::launch::{
    EndedProcess, LaunchError, LaunchSpec, Launched, OutputLog, PLUGIN_DESCRIPTOR, PinnedBy,
};
use crate::model::{FileIdentity, PluginName};

pub(super) type Job<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The parts with which a plugin is launched.
pub(crate) struct Launcher {
    pub(super) name: PluginName,
    pub(super) host: Arc<Host>,
    pub(super) settings: Arc<PluginSettings>,
    pub(super) source: Option<LaunchSource>,
    /// The output of the current process.
    pub(super) output: OutputLog,
}

impl Resources for Launcher {
    type Launch = Job<Result<Launched, LaunchError>>;
    type Child = ChildProcess;
    type Opening = Job<Result<Registrant, OpenError>>;
    type Connection = PluginConnection;
    type Ending = Job<Option<EndedProcess>>;
}

impl Actions for Launcher {
    fn launch(&mut self) -> Self::Launch {
        let spawner = self.host.spawner.clone();
        match self.spec() {
            Some(spec) => Box::pin(async move { Launched::start(&spawner, spec).await }),
            // The machine launches only plugins with a source.
            None => Box::pin(async { Err(LaunchError::Stopping) }),
        }
    }

    fn end(
        &mut self,
        child: Option<Self::Child>,
        connection: Option<Self::Connection>,
        is_graceful: bool,
    ) -> Self::Ending {
        if is_graceful {
            Box::pin(end_gracefully(child, connection))
        } else {
            Box::pin(end_failed(child, connection))
        }
    }
}

impl Launcher {
    /// Ties a process that was forked to its plugin.
    pub(super) fn adopt(
        &mut self,
        launched: Launched,
    ) -> (ChildProcess, Job<Result<Registrant, OpenError>>) {
        let Launched {
            process,
            socket,
            output,
        } = launched;
        self.output = OutputLog::default();
        let pid = process.pid();
        let child = ChildProcess::new(process, output, self.output.clone(), self.name.clone());
        let name = self.name.clone();
        let (limit, keep_alive) = (self.settings.start_timeout, self.host.keep_alive);
        let version = self.host.version.clone();
        let opening = async move {
            let options = OpenOptions {
                launched_as: Some(&name),
                process: Some(pid),
                limit,
                keep_alive,
                version,
            };
            connection::open(socket, options).await
        };
        (child, Box::pin(opening))
    }

    /// Returns which file the executable is, if there is one that can be examined.
    pub(super) fn identity(&self) -> Option<&FileIdentity> {
        self.source.as_ref()?.identity.as_ref()
    }

    fn spec(&self) -> Option<LaunchSpec> {
        let source = self.source.as_ref()?;
        let pinned_by = if self.settings.is_pin_configured {
            PinnedBy::Configuration
        } else {
            PinnedBy::Trust
        };
        Some(LaunchSpec {
            name: self.name.clone(),
            pinned_by,
            is_built_in: source.is_built_in,
            executable: source.executable.clone(),
            argv0: source.argv0.clone(),
            environment: self.environment(source),
            sha256: self.settings.sha256,
        })
    }

    fn environment(&self, source: &LaunchSource) -> BTreeMap<OsString, OsString> {
        let settings = &self.settings;
        let passed: Vec<String> = source
            .pass_env
            .iter()
            .chain(&settings.pass_env)
            .cloned()
            .collect();
        let mut environment = self.host.environment.for_plugin(&passed, &settings.env);
        let launch = LaunchConfig {
            name: self.name.to_string(),
            timeout: settings.start_timeout,
            fd: PLUGIN_DESCRIPTOR,
        };
        environment.insert(LAUNCH_VARIABLE.into(), launch.to_json().into());
        environment
    }
}

/// An event of a resource that a state holds.
pub(super) enum Outcome {
    Launched(Result<Launched, LaunchError>),
    Opened(Result<Registrant, OpenError>),
    /// The process ended before it registered.
    ExitedEarly,
    /// A running plugin's connection or process ended.
    Lost(String),
    Ended(Option<EndedProcess>),
}

impl State<Launcher> {
    /// Returns `true` if a signal has stopped the process, so that it could not respond.
    pub(super) fn has_stopped_child(&self) -> bool {
        match self {
            Self::Registering { child, .. }
            | Self::Running {
                child: Some(child), ..
            } => child.is_stopped(),
            _ => false,
        }
    }

    /// Resolves with the next thing that happens.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: each wait is kept in the state.
    pub(super) async fn outcome(&mut self) -> Outcome {
        match self {
            Self::Idle(_) => pending().await,
            Self::Launching { launch, .. } => Outcome::Launched(launch.await),
            // The reason why a connection ended is more specific than the end of the process, which is reported in any case.
            Self::Registering { child, opening, .. } => tokio::select! {
                biased;
                opened = opening => Outcome::Opened(opened),
                () = child.exited() => Outcome::ExitedEarly,
            },
            Self::Running {
                child: Some(child),
                connection,
                ..
            } => tokio::select! {
                biased;
                reason = connection.ended() => Outcome::Lost(reason),
                () = child.exited() => Outcome::Lost("process ended".into()),
            },
            Self::Running { connection, .. } => Outcome::Lost(connection.ended().await),
            Self::Draining { ending, .. } => Outcome::Ended(ending.await),
        }
    }
}
