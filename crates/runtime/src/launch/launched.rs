//! Launching: a process that was started, tied to the async runtime.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keyway_local::Pauses;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::time::{Instant, sleep, timeout};

use super::LAUNCH_BOUND;
use super::bound::Bound;
use super::error::{LaunchError, LaunchErrorClass, prepare_error};
use super::executable::open_executable;
use super::memory::{CreateMemoryFile, create_memory_file};
use super::process::Process;
use super::program::{Program, prepare};
use super::spawner::{Forked, Spawner};
use super::spec::LaunchSpec;
use crate::sys::child::{ChildFailure, ChildReport, ChildStep};
use crate::sys::image::Image;

/// The time for which the execution of a file that is open for writing is repeated.
const BUSY_BOUND: Duration = Duration::from_secs(1);

/// The time for which a missing file is tried again: it may be in the middle of being replaced. Less than [`LAUNCH_BOUND`], so that
/// the error says that it is missing.
const MISSING_BOUND: Duration = Duration::from_secs(8);

/// The first pause before the file is tried again.
const FIRST_BUSY_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause.
const LONGEST_BUSY_PAUSE: Duration = Duration::from_millis(200);

/// Pinned files above this size are hashed a few at a time, so that they do not take the processor from small ones.
const LARGE_LEN: u64 = 32 << 20;

/// A process that was started, with our end of its connection.
#[derive(Debug)]
pub(crate) struct Launched {
    /// The process.
    pub(crate) process: Process,
    /// Our end of the socket pair.
    pub(crate) socket: tokio::net::UnixStream,
    /// Its standard output and error.
    pub(crate) output: pipe::Receiver,
}

impl Launched {
    /// Starts a process. A file that is open for writing is tried again for a second, one that is missing for eight.
    ///
    /// # Errors
    ///
    /// Returns [`LaunchError::Refused`] if the file must not run as this plugin, [`LaunchError::TimedOut`] if it was not
    /// executed within [`LAUNCH_BOUND`], and the error of the first step that failed otherwise. Then nothing is left of the
    /// attempt.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, a process that was started in the meantime is killed and reaped.
    pub(crate) async fn start(spawner: &Spawner, spec: LaunchSpec) -> Result<Self, LaunchError> {
        Self::start_with(spawner, spec, create_memory_file).await
    }

    async fn start_with(
        spawner: &Spawner,
        spec: LaunchSpec,
        create: CreateMemoryFile,
    ) -> Result<Self, LaunchError> {
        let spec = Arc::new(spec);
        timeout(LAUNCH_BOUND, start_when_ready(spawner, &spec, create))
            .await
            .unwrap_or_else(|_| {
                Err(LaunchError::TimedOut {
                    path: spec.executable.clone(),
                    limit: LAUNCH_BOUND,
                })
            })
    }
}

async fn start_when_ready(
    spawner: &Spawner,
    spec: &Arc<LaunchSpec>,
    create: CreateMemoryFile,
) -> Result<Launched, LaunchError> {
    let started = Instant::now();
    let mut pauses = Pauses::between(FIRST_BUSY_PAUSE, LONGEST_BUSY_PAUSE);
    loop {
        let result = start_once(spawner, Arc::clone(spec), create).await;
        let bound = match &result {
            Err(error) if error.class() == LaunchErrorClass::Busy => BUSY_BOUND,
            Err(error) if error.is_missing() => MISSING_BOUND,
            _ => return result,
        };
        if started.elapsed() >= bound {
            return result;
        }
        sleep(pauses.next().unwrap_or(LONGEST_BUSY_PAUSE)).await;
    }
}

async fn start_once(
    spawner: &Spawner,
    spec: Arc<LaunchSpec>,
    create: CreateMemoryFile,
) -> Result<Launched, LaunchError> {
    let path = spec.executable.clone();
    let Program { image, fallback } = program(spawner, spec, create).await?;
    let failure = match execute(spawner, image).await? {
        Ok(launched) => return Ok(launched),
        Err(failure) => failure,
    };
    let image = match failure.step {
        ChildStep::Execute => Program::after(fallback, &failure.source),
        _ => None,
    };
    let Some(image) = image else {
        return Err(child_error(&path, failure));
    };
    execute(spawner, image)
        .await?
        .map_err(|failure| child_error(&path, failure))
}

/// Opens, checks, hashes and copies the executable on blocking threads.
async fn program(
    spawner: &Spawner,
    spec: Arc<LaunchSpec>,
    create: CreateMemoryFile,
) -> Result<Program, LaunchError> {
    let (file, len) = blocking({
        let spec = Arc::clone(&spec);
        move || open_executable(&spec.executable, spec.is_built_in)
    })
    .await?;
    let _permit = if spec.sha256.is_some() && len > LARGE_LEN {
        Some(spawner.hash_large_file().await)
    } else {
        None
    };
    let (bound, _cancel_on_drop) = Bound::new(std::time::Instant::now() + LAUNCH_BOUND);
    blocking(move || prepare(&spec, file, &bound, create)).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LaunchError> + Send + 'static,
) -> Result<T, LaunchError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(prepare_error("check the executable"))?
}

/// Forks a process and waits until it has executed `image`, or has failed to.
async fn execute(
    spawner: &Spawner,
    image: Image,
) -> Result<Result<Launched, ChildFailure>, LaunchError> {
    let Forked {
        pid,
        pidfd,
        socket,
        output,
        report,
    } = spawner.fork(image).await?;
    // From here on the process is killed and reaped when anything fails.
    let process =
        Process::new(pid, pidfd, spawner.clone()).map_err(prepare_error("watch the process"))?;
    let socket =
        tokio::net::UnixStream::from_std(socket).map_err(prepare_error("use the socket pair"))?;
    let output = pipe::Receiver::from_owned_fd(output).map_err(prepare_error("read the output"))?;
    let report =
        pipe::Receiver::from_owned_fd(report).map_err(prepare_error("read the child's report"))?;
    Ok(match read_report(report).await? {
        Some(failure) => Err(failure),
        None => Ok(Launched {
            process,
            socket,
            output,
        }),
    })
}

/// Returns the failure that a child reported; `None` if it closed the pipe by executing its image, or by being killed.
async fn read_report(mut report: pipe::Receiver) -> Result<Option<ChildFailure>, LaunchError> {
    let mut bytes = Vec::with_capacity(size_of::<ChildReport>());
    report
        .read_to_end(&mut bytes)
        .await
        .map_err(prepare_error("read the child's report"))?;
    Ok(ChildReport::try_from(bytes)
        .ok()
        .and_then(ChildFailure::from_report))
}

fn child_error(path: &Path, failure: ChildFailure) -> LaunchError {
    match failure.step {
        ChildStep::Execute => LaunchError::Execute {
            path: path.into(),
            source: failure.source,
        },
        step => prepare_error(step.what())(failure.source),
    }
}

#[cfg(test)]
mod tests;
