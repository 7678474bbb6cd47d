//! Playing a script with two actors.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, task::JoinSet, time::timeout};

use crate::{
    actor::{Act, Actor, Performed},
    model::Expected,
    outcome::{Outcome, Saw},
    script::{End, Op, Script, Step},
    transcript::{Line, Transcript},
};

/// The actors of the client and of the server.
type Actors = [Arc<dyn Actor>; 2];

/// The ids on the wire of the script's streams, once they are open.
type Ids = Arc<Mutex<HashMap<usize, u32>>>;

/// The outcome of each operation so far.
type Outcomes = Arc<Mutex<Vec<Option<Outcome>>>>;

/// Plays a script. An operation that has not ended at the limit is [`Saw::Stuck`].
pub(crate) async fn play(
    script: &Script,
    expected: &Expected,
    actors: &Actors,
    limit: Duration,
) -> Transcript {
    let outcomes = operations(script, actors, limit).await;
    let lines = script.ops.iter().zip(&expected.outcomes).zip(outcomes);
    let lines = lines.map(|((op, expected), seen)| Line {
        what: op.to_string(),
        stream: op.stream,
        expected: expected.clone(),
        seen: seen.unwrap_or(Outcome::of(Saw::Stuck)),
    });
    let mut transcript = Transcript {
        lines: lines.collect(),
    };
    if transcript.parting().is_none() {
        let ending = ending(script, expected, actors, limit).await;
        transcript.lines.extend(ending);
    }
    transcript
}

/// Runs all operations, each in a task of its own that waits for those it follows.
async fn operations(script: &Script, actors: &Actors, limit: Duration) -> Vec<Option<Outcome>> {
    let count = script.ops.len();
    let outcomes: Outcomes = Arc::new(Mutex::new(vec![None; count]));
    let ids = Ids::default();
    let done: Vec<_> = (0..count).map(|_| watch::Sender::new(false)).collect();
    let mut tasks = JoinSet::new();
    for (number, op) in script.ops.iter().copied().enumerate() {
        let earlier = script.ops[..number].iter().zip(&done);
        let earlier = earlier.filter(|(earlier, _)| op.follows(earlier));
        let mut before: Vec<_> = earlier.map(|(_, done)| done.subscribe()).collect();
        let finished = done[number].clone();
        let actor = Arc::clone(&actors[op.end.index()]);
        let (outcomes, ids) = (Arc::clone(&outcomes), Arc::clone(&ids));
        tasks.spawn(async move {
            for done in &mut before {
                // The sender lives as long as this task.
                let _ = done.wait_for(|done| *done).await;
            }
            let outcome = perform(&*actor, &op, &ids).await;
            let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
            outcomes[number] = Some(outcome);
            finished.send_replace(true);
        });
    }
    // An operation that has not ended at the limit, or has panicked, has no outcome.
    let _ = timeout(limit, async { while tasks.join_next().await.is_some() {} }).await;
    let outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
    outcomes.clone()
}

async fn perform(actor: &dyn Actor, op: &Op, ids: &Ids) -> Outcome {
    let id = op.stream.and_then(|stream| {
        let ids = ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.get(&stream).copied()
    });
    let act = match (op.step, id) {
        (Step::Accepting, _) => Act::Accepting,
        (Step::OpenRefused, _) => Act::OpenRefused,
        (Step::GoAway, _) => Act::GoAway,
        (Step::Close | Step::Drain | Step::HangUp, _) => Act::Close,
        (Step::Open { flush }, _) => Act::Open { flush },
        (_, None) => return Outcome::of(Saw::Unknown),
        (Step::Accept, Some(id)) => Act::Accept(id),
        (Step::Write(bytes), Some(id)) => Act::Write(id, bytes),
        (Step::Read(bytes, pace), Some(id)) => Act::Read(id, bytes, pace),
        (Step::ReadEnd(pace), Some(id)) => Act::ReadEnd(id, pace),
        (Step::Finish, Some(id)) => Act::Finish(id),
        (Step::Reset, Some(id)) => Act::Reset(id),
        (Step::Drop, Some(id)) => Act::Drop(id),
    };
    let Performed { outcome, stream } = actor.perform(act).await;
    if let (Some(number), Some(id)) = (op.stream, stream) {
        let mut ids = ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.insert(number, id);
    }
    outcome
}

/// Checks the state after every script: no finished stream is left, and the session ends without an
/// error.
async fn ending(
    script: &Script,
    expected: &Expected,
    actors: &Actors,
    limit: Duration,
) -> Vec<Line> {
    let mut lines = Vec::new();
    let line = |what: String, expected, seen| Line {
        what,
        stream: None,
        expected,
        seen,
    };
    if !expected.is_closed && expected.is_finished {
        for end in End::BOTH {
            let left = no_stream_is_left(&*actors[end.index()]).await;
            if left.saw != Saw::Unsupported {
                let what = format!("{end}: how many streams are left open");
                lines.push(line(what, Outcome::of(Saw::Done), left));
            }
        }
    }
    if !expected.is_closed {
        // The seed decides who closes.
        let closer = if (script.seed / 64).is_multiple_of(2) {
            End::Client
        } else {
            End::Server
        };
        let seen = bounded(&*actors[closer.index()], Act::Close, limit).await;
        let what = format!("{closer}: the close of the session");
        lines.push(line(what, Outcome::of(Saw::Done), seen));
    }
    for end in End::BOTH {
        let seen = bounded(&*actors[end.index()], Act::Ended, limit).await;
        let what = format!("{end}: how the session ended");
        // A session whose streams were cut off may end with an error, but it must end. One of them
        // may be a stream that was about to be opened when the other end closed.
        let opens = |op: &Op| op.step == Step::OpenRefused;
        let opens_late = expected.is_closed && script.ops.iter().any(opens);
        let is_cut = (!expected.is_finished || opens_late) && seen.saw == Saw::Lost;
        let saw = if is_cut { Saw::Lost } else { Saw::Done };
        lines.push(line(what, Outcome::of(saw), seen));
        let accepts = |op: &Op| op.end == end && op.step == Step::Accepting;
        if script.ops.iter().any(accepts) {
            let seen = bounded(&*actors[end.index()], Act::NoMoreStreams, limit).await;
            let what = format!("{end}: the end of accepting");
            lines.push(line(what, Outcome::of(Saw::Done), seen));
        }
    }
    lines
}

async fn bounded(actor: &dyn Actor, act: Act, limit: Duration) -> Outcome {
    let performed = timeout(limit, actor.perform(act)).await;
    performed.map_or(Outcome::of(Saw::Stuck), |performed| performed.outcome)
}

/// Waits until the implementation counts no open stream, for 5 s.
async fn no_stream_is_left(actor: &dyn Actor) -> Outcome {
    let mut seen = actor.perform(Act::OpenStreams).await.outcome;
    for _ in 0..500 {
        if seen.saw != Saw::Done || seen.bytes == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        seen = actor.perform(Act::OpenStreams).await.outcome;
    }
    seen
}
