//! The processes under measurement: starting, stopping, CPU times and cores.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Limit for the stop of a daemon.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// The interval between two checks of a process that starts or stops.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A child process with its log; killed on drop.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with stdout and stderr in the file `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let output = File::create(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .map_err(|error| {
                let program = command.get_program().display();
                Error::other(format!("cannot start {program}: {error}"))
            })?;
        Ok(Self {
            child,
            log: log.to_owned(),
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Calls `is_ready` until it succeeds.
    ///
    /// # Errors
    ///
    /// Returns the last error of `is_ready`, with the log, after `limit` or once the process has exited; or `Interrupted`.
    pub(crate) fn wait_until(
        &mut self,
        limit: Duration,
        mut is_ready: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let started = Instant::now();
        loop {
            let Err(error) = is_ready() else {
                return Ok(());
            };
            crate::interrupt::check()?;
            if self.child.try_wait()?.is_some() || started.elapsed() > limit {
                return Err(self.failure(&format!("a daemon is not ready: {error}")));
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "the program has no runtime, and polls within a bound"
            )]
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Sends SIGTERM and waits until the process has exited.
    ///
    /// # Errors
    ///
    /// Fails if the process does not exit in time, or with another code than 0; with the log.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill_process(pid(self.id())?, Signal::TERM)?;
        let started = Instant::now();
        while started.elapsed() < STOP_TIMEOUT {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.failure(&format!("a daemon exited with {status}"))),
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the program has no runtime, and polls within a bound"
                )]
                None => thread::sleep(POLL_INTERVAL),
            }
        }
        Err(self.failure("a daemon did not stop"))
    }

    fn failure(&self, message: &str) -> Error {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        Error::other(format!("{message}\n{log}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail if the process has already been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pid(id: u32) -> Result<Pid> {
    let id = i32::try_from(id).map_err(Error::other)?;
    Pid::from_raw(id).ok_or_else(|| Error::other("0 is not a process id"))
}

/// Returns the descendant of process `ancestor` whose program, the first of its arguments, is named `name`.
///
/// # Errors
///
/// Fails if there is none.
pub(crate) fn descendant(ancestor: u32, name: &str) -> Result<u32> {
    let mut found = children(ancestor)?;
    let mut at = 0;
    while let Some(&pid) = found.get(at) {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let program = arguments
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default();
        let program = String::from_utf8_lossy(program);
        if program.rsplit('/').next() == Some(name) {
            return Ok(pid);
        }
        // A process that has exited meanwhile has no children.
        found.extend(children(pid).unwrap_or_default());
        at += 1;
    }
    Err(Error::other(format!("the daemon has no plugin {name}")))
}

fn children(pid: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for thread in threads(pid)? {
        let path = format!("/proc/{pid}/task/{thread}/children");
        let children = fs::read_to_string(path).unwrap_or_default();
        found.extend(
            children
                .split_ascii_whitespace()
                .flat_map(str::parse::<u32>),
        );
    }
    Ok(found)
}

fn threads(pid: u32) -> Result<Vec<u32>> {
    let mut threads = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        threads.extend(entry?.file_name().to_string_lossy().parse::<u32>());
    }
    Ok(threads)
}

/// The CPU time of one process, by thread.
///
/// The kernel's clock has nanoseconds here, where `/proc/PID/stat` counts ticks of 10 ms. A thread that exits between two
/// readings is not counted, so the readings must be close to each other.
#[derive(Debug)]
pub(crate) struct CpuTime(HashMap<u32, u64>);

impl CpuTime {
    /// Reads the time that the threads of process `pid` have run, in user and kernel mode.
    pub(crate) fn read(pid: u32) -> Result<Self> {
        let mut times = HashMap::new();
        for thread in threads(pid)? {
            let Ok(text) = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat"))
            else {
                continue;
            };
            let nanoseconds = text.split_ascii_whitespace().next().map(str::parse);
            times.insert(thread, nanoseconds.and_then(|n| n.ok()).unwrap_or_default());
        }
        Ok(Self(times))
    }

    /// Returns the time since an `earlier` reading.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let spent = self.0.iter().map(|(thread, time)| {
            time.saturating_sub(earlier.0.get(thread).copied().unwrap_or_default())
        });
        Duration::from_nanos(spent.sum())
    }
}

/// Threads that are pinned to one core; their former cores are restored on drop.
#[derive(Debug)]
pub(crate) struct Pinned(Vec<(Pid, CpuSet)>);

impl Pinned {
    /// Pins the calling thread and all threads of `processes` to the last core that the calling thread may use.
    pub(crate) fn to_one_core(processes: &[u32]) -> Result<Self> {
        let available = sched_getaffinity(None)?;
        let last = (0..CpuSet::MAX_CPU).rfind(|core| available.is_set(*core));
        let mut core = CpuSet::new();
        core.set(last.ok_or_else(|| Error::other("no core is available"))?);
        let mut pinned = Self(Vec::new());
        for process in processes {
            for thread in threads(*process)? {
                pinned.pin(pid(thread)?, &core)?;
            }
        }
        pinned.pin(rustix::thread::gettid(), &core)?;
        Ok(pinned)
    }

    fn pin(&mut self, thread: Pid, core: &CpuSet) -> Result<()> {
        let former = match sched_getaffinity(Some(thread)) {
            // The thread has exited.
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            former => former?,
        };
        sched_setaffinity(Some(thread), core)?;
        self.0.push((thread, former));
        Ok(())
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        for (thread, former) in &self.0 {
            // A thread that has exited needs no core.
            let _ = sched_setaffinity(Some(*thread), former);
        }
    }
}

/// The CPU time of all cores of the machine, in the kernel's ticks of 10 ms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MachineTime(u64);

impl MachineTime {
    /// Reads the time since the machine started. Idle time and waiting for devices do not count.
    pub(crate) fn read() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let fields = stat.lines().next().unwrap_or_default();
        let fields: Vec<u64> = fields
            .split_ascii_whitespace()
            .flat_map(str::parse)
            .collect();
        // user, nice, system, idle, iowait, irq, softirq, steal
        let [user, nice, system, _, _, irq, softirq, steal, ..] = fields[..] else {
            return Err(Error::other("cannot parse /proc/stat"));
        };
        Ok(Self(user + nice + system + irq + softirq + steal))
    }

    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(10 * self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        (folder, log)
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_dropped_process_is_killed() {
        let (_folder, log) = log();
        let process = Process::start(&mut shell("exec sleep 600"), &log).expect("started");
        let id = process.id();
        drop(process);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }

    #[test]
    fn a_process_that_exits_early_is_reported_with_its_log() {
        let (_folder, log) = log();
        let script = "echo the reason >&2; exit 3";
        let mut process = Process::start(&mut shell(script), &log).expect("started");
        let never = || Err(Error::other("not yet"));
        let error = process
            .wait_until(Duration::from_secs(60), never)
            .expect_err("an error");
        assert_eq!(
            error.to_string(),
            "a daemon is not ready: not yet\nthe reason\n"
        );
    }

    #[test]
    fn a_failing_exit_code_is_an_error() {
        let (_folder, log) = log();
        let script = "trap 'exit 4' TERM; echo ready; while :; do sleep 0.01; done";
        let mut process = Process::start(&mut shell(script), &log).expect("started");
        let is_ready = || match fs::read_to_string(&log)?.as_str() {
            "ready\n" => Ok(()),
            _ => Err(Error::other("not yet")),
        };
        process
            .wait_until(Duration::from_secs(60), is_ready)
            .expect("ready");
        let error = process.stop().expect_err("an error");
        assert!(
            error.to_string().contains("exited with exit status: 4"),
            "{error}"
        );
    }

    #[test]
    fn descendants_are_found_by_the_name_of_their_program() {
        let (_folder, log) = log();
        let script = "bash -c 'exec -a /somewhere/plugin sleep 600' & wait";
        let mut process = Process::start(&mut shell(script), &log).expect("started");
        let ancestor = process.id();
        let mut found = 0;
        let is_found = || {
            found = descendant(ancestor, "plugin")?;
            Ok(())
        };
        process
            .wait_until(Duration::from_secs(60), is_found)
            .expect("found");
        assert!(descendant(ancestor, "lugin").is_err());
        kill_process(pid(found).expect("an id"), Signal::KILL).expect("killed");
    }

    #[test]
    fn work_takes_cpu_time() {
        let id = std::process::id();
        let before = CpuTime::read(id).expect("a reading");
        let started = Instant::now();
        while CpuTime::read(id).expect("a reading").since(&before) < Duration::from_millis(5) {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "no time was counted"
            );
        }
    }

    #[test]
    fn pinned_threads_return_to_their_cores() {
        let before = sched_getaffinity(None).expect("cores");
        let pinned = Pinned::to_one_core(&[]).expect("pinned");
        assert_eq!(sched_getaffinity(None).expect("cores").count(), 1);
        drop(pinned);
        assert_eq!(sched_getaffinity(None).expect("cores"), before);
    }
}
