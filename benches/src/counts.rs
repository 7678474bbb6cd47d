//! The cost of a call in counts, which other processes on the machine do not change.
//!
//! `strace` and valgrind's `callgrind` run this program again with one contender, once with few rounds and once with more.
//! The difference is the cost of the additional calls. There is no count without the tool.

use std::process::{Command, Stdio};

/// The number of rounds of the shorter and of the longer run.
const ROUNDS: [u32; 2] = [1, 4];

/// Returns the number of system calls of each call. A round has `calls` calls; `arguments` follow the number of rounds on this
/// program's command line. `None` without `strace`.
#[must_use]
pub fn system_calls(calls: u64, arguments: &[&str]) -> Option<f64> {
    let tool = [
        "strace",
        "--follow-forks",
        "--summary-only",
        "-e",
        "trace=all",
    ];
    each(calls, &tool, arguments, |report| {
        let total = report.lines().rfind(|line| line.ends_with(" total"))?;
        // Share, seconds, microseconds of each call, calls, sometimes errors, `total`.
        total.split_whitespace().nth(3)?.parse().ok()
    })
}

/// Returns the number of instructions of each call outside of the kernel; the arguments are those of [`system_calls`]. `None`
/// without `valgrind`.
#[must_use]
pub fn instructions(calls: u64, arguments: &[&str]) -> Option<f64> {
    let tool = [
        "valgrind",
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
    ];
    each(calls, &tool, arguments, |report| {
        let (_, count) = report.split_once("Collected :")?;
        count.split_whitespace().next()?.parse().ok()
    })
}

fn each(
    calls: u64,
    tool: &[&str],
    arguments: &[&str],
    count: impl Fn(&str) -> Option<u64>,
) -> Option<f64> {
    let [less, more] = ROUNDS.map(|rounds| count(&report(tool, rounds, arguments)?));
    let calls = calls * u64::from(ROUNDS[1] - ROUNDS[0]);
    Some(more?.checked_sub(less?)? as f64 / calls as f64)
}

/// Returns the report of the tool about a run of this program.
fn report(tool: &[&str], rounds: u32, arguments: &[&str]) -> Option<String> {
    let (name, options) = tool.split_first()?;
    let output = Command::new(name)
        .args(options)
        .arg(std::env::current_exe().ok()?)
        .arg(rounds.to_string())
        .args(arguments)
        .stdout(Stdio::null())
        .output()
        .ok()?;
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    output.status.success().then_some(report)
}
