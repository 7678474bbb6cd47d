//! Shrinking of failing scripts.

use std::time::{Duration, Instant};

use crate::{
    model::expect,
    script::{Op, Script},
    transcript::Transcript,
};

/// The time limit of shrinking.
const LIMIT: Duration = Duration::from_secs(20);

/// Removes streams, then single operations, as long as the script fails. `fails` plays a script and returns its
/// transcript if it still fails.
pub(crate) fn shrink(
    script: &Script,
    mut fails: impl FnMut(&Script) -> Option<Transcript>,
) -> Option<(Script, Transcript)> {
    let start = Instant::now();
    let mut smallest = script.clone();
    let mut found = None;
    let is_finished = |script: &Script| expect(script).map(|expected| expected.is_finished).ok();
    let should_finish = is_finished(script);
    let mut attempt = |smallest: &mut Script, ops: Vec<Op>| {
        let is_in_time = start.elapsed() < LIMIT;
        let candidate = Script {
            ops,
            ..smallest.clone()
        };
        if !is_in_time || is_finished(&candidate) != should_finish {
            return false;
        }
        let Some(transcript) = fails(&candidate) else {
            return false;
        };
        *smallest = candidate;
        found = Some(transcript);
        true
    };
    let mut streams: Vec<_> = script.ops.iter().filter_map(|op| op.stream).collect();
    streams.sort_unstable();
    streams.dedup();
    for stream in streams {
        let ops = smallest.ops.iter().filter(|op| op.stream != Some(stream));
        let ops = ops.copied().collect();
        attempt(&mut smallest, ops);
    }
    let mut number = smallest.ops.len();
    while number > 0 {
        number -= 1;
        let mut ops = smallest.ops.clone();
        ops.remove(number);
        attempt(&mut smallest, ops);
    }
    found.map(|transcript| (smallest, transcript))
}
