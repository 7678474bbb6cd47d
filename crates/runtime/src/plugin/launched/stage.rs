//! What the task of a launched plugin is doing.

use std::future::{Future, pending};
use std::pin::Pin;

use crate::connection::{OpenError, PluginConnection};
use crate::launch::{EndedProcess, LaunchError, Launched};
use crate::plugin::ending::ChildProcess;

pub(super) type Job<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What the plugin's task is doing, with everything that this needs: no process or connection exists outside of its stage.
pub(super) enum Stage {
    /// Nothing is there.
    Idle,
    /// The process is being started.
    Launching(Job<Result<Launched, LaunchError>>),
    /// The process runs, and its registration is awaited.
    Registering {
        child: ChildProcess,
        opening: Job<Result<PluginConnection, OpenError>>,
    },
    /// It answers requests.
    Running {
        child: ChildProcess,
        connection: PluginConnection,
    },
    /// It is being ended.
    Ending(Job<EndedProcess>),
}

/// What happened in a stage.
pub(super) enum Outcome {
    Launched(Result<Launched, LaunchError>),
    Opened(Result<PluginConnection, OpenError>),
    /// The process ended before it registered.
    ExitedEarly,
    /// A running plugin's connection or process ended.
    Lost(String),
    Over(EndedProcess),
}

impl Stage {
    /// Resolves with the next thing that happens. Cancel safe: the state of every wait is in `self`.
    pub(super) async fn outcome(&mut self) -> Outcome {
        match self {
            Self::Idle => pending().await,
            Self::Launching(job) => Outcome::Launched(job.await),
            // Why a connection ended tells more than that the process did; how that ended is told in any case.
            Self::Registering { child, opening } => tokio::select! {
                biased;
                opened = opening => Outcome::Opened(opened),
                () = child.exited() => Outcome::ExitedEarly,
            },
            Self::Running { child, connection } => tokio::select! {
                biased;
                reason = connection.ended() => Outcome::Lost(reason),
                () = child.exited() => Outcome::Lost("its process ended".into()),
            },
            Self::Ending(job) => Outcome::Over(job.await),
        }
    }
}
