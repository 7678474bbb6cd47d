//! A program that runs, and its pipes.

use std::io;

use keyway_secrets::SecretValue;

use super::group::Group;
use super::output::Output;
use super::pipe::{Beyond, Reader, Writer};

/// Length of the end of standard error that is kept, in bytes.
const STDERR_LEN: usize = 16 * 1024;

/// A program that runs. Dropped, its group is killed.
pub(super) struct Running {
    group: Group,
    stdin: Writer,
    stdout: Reader,
    stderr: Reader,
}

impl Running {
    pub(super) fn new(
        mut group: Group,
        input: Option<SecretValue>,
        max_output: usize,
    ) -> io::Result<Self> {
        let (stdin, stdout, stderr) = group.take_pipes();
        Ok(Self {
            group,
            stdin: Writer::new(stdin, input)?,
            stdout: Reader::new(stdout, max_output, Beyond::Stop)?,
            stderr: Reader::new(stderr, STDERR_LEN, Beyond::DropFirst)?,
        })
    }

    /// Feeds and reads the program until it has exited or has exceeded the limit of standard output. All output of an exited
    /// program was read then, and its group is gone.
    pub(super) async fn until_exit(&mut self) -> io::Result<()> {
        while !self.is_exceeded() {
            tokio::select! {
                biased;
                () = self.group.exited() => return self.read_rest(),
                read = self.stdout.read() => read?,
                read = self.stderr.read() => read?,
                written = self.stdin.write() => written?,
            }
            // A program that writes without a pause leaves the others their turn.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn read_rest(&mut self) -> io::Result<()> {
        // Killed before, so that nothing of the group writes any more.
        self.group.kill();
        self.stdout.read_rest()?;
        self.stderr.read_rest()
    }

    /// Returns `true` if the program wrote more than the limit to standard output.
    pub(super) fn is_exceeded(&self) -> bool {
        self.stdout.is_exceeded()
    }

    /// Returns the result of a program that has exited, and logs if it has failed.
    pub(super) fn finish(self, program: &str, request: &str) -> io::Result<Output> {
        let status = self.group.reap()?;
        let (stdout, stderr) = (self.stdout.into_value(), self.stderr.into_value());
        let output = Output::new(program, status, stdout, stderr);
        output.log_failure(request, self.stdin.value());
        Ok(output)
    }
}
