//! Processes that plugins leave behind: they stay descendants of the daemon, and are reaped when they end.

use std::convert::Infallible;
use std::io;

use tokio::signal::unix::{SignalKind, signal};

use super::spawner::Spawner;
use crate::sys::children::become_subreaper;

/// Makes this process adopt the processes that its plugins leave behind, and reaps them for as long as the future is polled.
///
/// It must be the only one in the process that waits for children, besides [`Spawner`]: a child that another part of the
/// program forked counts as adopted.
///
/// # Errors
///
/// Returns the error of the operating system if the process cannot become a subreaper or cannot learn of ended children.
///
/// # Cancel safety
///
/// If the future is dropped, the process still adopts, and processes that end stay zombies.
pub(crate) async fn adopt_orphans(spawner: Spawner) -> io::Result<Infallible> {
    let mut ended = signal(SignalKind::child())?;
    become_subreaper()?;
    loop {
        spawner.reap_adopted();
        // The stream never ends, because the signal handler stays for the life of the process.
        ended.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::path::PathBuf;
    use std::process::Command;
    use std::time::Duration;

    use tokio::io::{AsyncBufReadExt, BufReader};
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::launch::{LaunchSpec, Launched, PinnedBy};
    use crate::sys::ancestry::is_descendant;

    /// Set in the process of its own that the test needs: a subreaper reaps the children of all tests beside it.
    const OWN_PROCESS: &str = "KEYWAY_TEST_ORPHANS";

    /// An orphan that lives, one that ends, and a helper that ends with the plugin.
    const PLUGIN: &str = "#!/bin/sh
sh -c 'setsid sleep 600 & echo $! >&2'
sh -c 'setsid sleep 0.05 & echo $! >&2'
sleep 600
";

    #[test]
    fn orphans_of_a_plugin_are_adopted_and_reaped() {
        if std::env::var_os(OWN_PROCESS).is_some() {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            return runtime.block_on(adopt_and_reap());
        }
        let name = "launch::orphans::tests::orphans_of_a_plugin_are_adopted_and_reaped";
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", name])
            .env(OWN_PROCESS, "1")
            .output()
            .expect("the test runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}"
        );
    }

    async fn adopt_and_reap() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let executable = directory.path().join("plugin");
        std::fs::write(&executable, PLUGIN).expect("a script");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&executable, mode).expect("its mode");

        let spawner = Spawner::start().expect("a spawner");
        let adopting = tokio::spawn(adopt_orphans(spawner.clone()));
        let mut spec = specification(executable);
        spec.environment
            .insert("PATH".into(), "/usr/bin:/bin".into());
        let Launched {
            process, output, ..
        } = Launched::start(&spawner, spec).await.expect("launched");
        let mut lines = BufReader::new(output).lines();
        let mut orphans = Vec::new();
        for _ in 0..2 {
            let line = lines
                .next_line()
                .await
                .expect("the output")
                .expect("a line");
            let pid: i32 = line.parse().expect("a pid");
            orphans.push(rustix::process::Pid::from_raw(pid).expect("a pid"));
        }
        let [living, ending] = orphans[..] else {
            panic!("two orphans");
        };
        reaped(ending).await;
        assert!(is_descendant(living));

        // The plugin is none of the adopted: how it ended is known.
        rustix::process::kill_process(process.pid(), rustix::process::Signal::KILL)
            .expect("killed");
        process.exited().await.expect("ended");
        // While the plugin is a zombie that is not reaped yet, another one ends.
        rustix::process::kill_process(living, rustix::process::Signal::KILL).expect("killed");
        let ended = process.reap().await.expect("reaped");
        assert_eq!(ended.status.signal(), Some(libc::SIGKILL));
        reaped(living).await;
        assert!(!adopting.is_finished());
        spawner.finish().await;
    }

    fn specification(executable: PathBuf) -> LaunchSpec {
        LaunchSpec {
            name: "plugin".parse().expect("a name"),
            argv0: "plugin".into(),
            environment: std::collections::BTreeMap::new(),
            executable,
            sha256: None,
            pinned_by: PinnedBy::Trust,
            is_built_in: false,
        }
    }

    /// Waits until nothing is left of a process, not even a zombie.
    async fn reaped(pid: rustix::process::Pid) {
        let started = Instant::now();
        let path = format!("/proc/{}", pid.as_raw_nonzero());
        while std::path::Path::new(&path).exists() {
            assert!(started.elapsed() < Duration::from_secs(20), "still there");
            sleep(Duration::from_millis(5)).await;
        }
    }
}
