//! The real daemon in a temporary home.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// `keyway serve`, killed if the test ends early.
pub struct Engine {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Engine {
    /// Starts it and waits until it says that it is ready.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut seen = String::new();
        while !seen.contains("keyway: ready at ") {
            let n = stderr.read_line(&mut seen).unwrap();
            assert_ne!(n, 0, "the daemon ended: {seen}");
        }
        Self { child, stderr }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop, and gives what it still wrote to stderr and how it ended.
    pub fn stop(mut self) -> (ExitStatus, String) {
        self.signal(Signal::TERM);
        let mut rest = String::new();
        while self.stderr.read_line(&mut rest).unwrap() > 0 {}
        (self.child.wait().unwrap(), rest)
    }

    /// Kills it, as a crash would.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // After an orderly stop both find nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
