//! The guarantees of the protocol: the outcome of every operation of a script.
//!
//! Streams are byte pipes in two directions, so a script is evaluated here one operation after the
//! other in its written order. Scripts are generated such that every possible order of the operations has the
//! same outcomes. [`expect`] rejects other scripts.

use std::collections::BTreeMap;

use crate::{
    outcome::{Outcome, Saw},
    script::{End, Op, Script, Step, Wait},
};

/// The bytes that fit into a window that was never read from.
const WINDOW: u64 = 256 * 1024;

/// The bytes that fit into a window after reads: credit is sent when half of it was read.
const HALF_WINDOW: u64 = WINDOW / 2;

/// The expected outcomes of a script.
#[derive(Clone, Debug)]
pub struct Expected {
    /// One outcome for each operation.
    pub outcomes: Vec<Outcome>,
    /// `true` if every stream has come to its end, so that nothing of it may be left.
    pub is_finished: bool,
    /// `true` if the script closes the session itself.
    pub is_closed: bool,
}

/// One direction of a stream.
#[derive(Default)]
struct Pipe {
    written: u64,
    read: u64,
    is_finished: bool,
}

impl Pipe {
    fn unread(&self) -> u64 {
        self.written - self.read
    }

    fn must_fit(&self) -> bool {
        let limit = if self.read == 0 { WINDOW } else { HALF_WINDOW };
        self.unread() <= limit
    }
}

struct Stream {
    opener: End,
    /// `true` if SYN was sent.
    is_syn_sent: bool,
    /// By the end that writes.
    pipes: [Pipe; 2],
    is_accepted: bool,
    is_reset: bool,
    dropped: [bool; 2],
}

#[derive(Default)]
struct Model {
    streams: BTreeMap<usize, Stream>,
    accepts: [bool; 2],
    waiting: [usize; 2],
    went_away: [bool; 2],
    is_closed: bool,
    is_draining: bool,
    hung_up: Option<End>,
}

/// Computes the outcomes of a script.
///
/// # Errors
///
/// Returns the reason if the script has no single outcome, or would deadlock.
pub fn expect(script: &Script) -> Result<Expected, String> {
    let mut model = Model::default();
    let mut outcomes = Vec::with_capacity(script.ops.len());
    for (number, op) in script.ops.iter().enumerate() {
        let outcome = model.play(script, op);
        outcomes.push(outcome.map_err(|why| format!("operation {number} ({op}): {why}"))?);
    }
    if !model.streams.values().all(Stream::must_fit) {
        return Err("a write is never done".to_owned());
    }
    // An end that hangs up does not observe the progress of the other end.
    let is_finished = model.hung_up.is_none() && model.streams.values().all(Stream::is_closed);
    if model.is_draining && !is_finished {
        return Err("a stream would be cut off".to_owned());
    }
    Ok(Expected {
        outcomes,
        is_finished,
        is_closed: model.is_closed || model.is_draining,
    })
}

impl Stream {
    fn must_fit(&self) -> bool {
        self.pipes.iter().all(Pipe::must_fit)
    }

    fn is_closed(&self) -> bool {
        self.is_reset || self.pipes.iter().all(|pipe| pipe.is_finished)
    }
}

impl Model {
    fn play(&mut self, script: &Script, op: &Op) -> Result<Outcome, String> {
        self.check_waits(op)?;
        match op.step {
            Step::Accepting => {
                self.accepts[op.end.index()] = true;
                Ok(Outcome::of(Saw::Done))
            }
            Step::GoAway => {
                self.went_away[op.end.index()] = true;
                Ok(Outcome::of(Saw::Done))
            }
            Step::Close => {
                self.is_closed = true;
                Ok(Outcome::of(Saw::Done))
            }
            Step::Drain => {
                self.is_draining = true;
                Ok(Outcome::of(Saw::Done))
            }
            Step::HangUp => {
                self.is_closed = true;
                self.hung_up = Some(op.end);
                Ok(Outcome::of(Saw::Done))
            }
            Step::OpenRefused if self.is_closed || self.is_draining => Ok(Outcome::of(Saw::Cut)),
            Step::OpenRefused if self.went_away[op.end.other().index()] => {
                Ok(Outcome::of(Saw::Refused))
            }
            Step::OpenRefused => Err("no end refuses".to_owned()),
            Step::Open { .. } => self.open(script, op),
            _ => self.on_stream(op),
        }
    }

    /// The operations that it waits for must end without later ones.
    fn check_waits(&self, op: &Op) -> Result<(), String> {
        let stream = op.stream.and_then(|stream| self.streams.get(&stream));
        let fits = match (op.wait, op.step) {
            (Wait::All | Wait::Others, _) => self.streams.values().all(Stream::must_fit),
            (Wait::Stream, _) | (_, Step::Reset | Step::Drop) => {
                stream.is_none_or(Stream::must_fit)
            }
            (Wait::Own, _) => true,
        };
        fits.then_some(())
            .ok_or_else(|| "it waits for a write without a reader".to_owned())
    }

    fn open(&mut self, script: &Script, op: &Op) -> Result<Outcome, String> {
        let number = op.stream.ok_or("no stream")?;
        let other = op.end.other().index();
        if self.is_closed || self.is_draining || self.went_away[other] {
            return Err("the stream would be refused".to_owned());
        }
        let mut stream = Stream {
            opener: op.end,
            is_syn_sent: op.step == Step::Open { flush: true },
            pipes: Default::default(),
            is_accepted: false,
            is_reset: false,
            dropped: [false; 2],
        };
        if !self.accepts[other] {
            self.waiting[other] += 1;
            stream.is_reset = self.waiting[other] > script.settings.accept_queue[other];
        }
        if self.streams.insert(number, stream).is_some() {
            return Err("opened before".to_owned());
        }
        Ok(Outcome::of(Saw::Done))
    }

    fn on_stream(&mut self, op: &Op) -> Result<Outcome, String> {
        let is_closed = self.is_closed;
        let hung_up = self.hung_up;
        let number = op.stream.ok_or("no stream")?;
        let stream = self.streams.get_mut(&number).ok_or("not open")?;
        if stream.dropped[op.end.index()] {
            return Err("dropped before".to_owned());
        }
        if op.end != stream.opener && !stream.is_accepted && op.step != Step::Accept {
            return Err("not accepted".to_owned());
        }
        let (own, other) = (op.end.index(), op.end.other().index());
        if op.step == Step::Accept && !stream.is_syn_sent {
            return Err("its SYN was not sent".to_owned());
        }
        stream.is_syn_sent |= op.step != Step::Drop;
        match op.step {
            Step::Accept if !self.accepts[own] || stream.is_reset => {
                Err("never accepted".to_owned())
            }
            // A close may reset the streams that wait. An end that hangs up has left them at the other end.
            Step::Accept if is_closed && hung_up != Some(stream.opener) => {
                Err("it may be gone before it is accepted".to_owned())
            }
            Step::Accept => {
                stream.is_accepted = true;
                Ok(Outcome::of(Saw::Done))
            }
            Step::Write(bytes) => stream.write(own, bytes as u64, is_closed),
            Step::Read(bytes, _) => stream.read(other, Some(bytes as u64), is_closed),
            Step::ReadEnd(_) => stream.read(other, None, is_closed),
            Step::Finish if is_closed || stream.is_reset => Err("nothing to finish".to_owned()),
            Step::Finish => {
                stream.pipes[own].is_finished = true;
                Ok(Outcome::of(Saw::Done))
            }
            Step::Reset if stream.pipes.iter().any(|pipe| pipe.unread() > 0) => {
                Err("unread bytes may be lost".to_owned())
            }
            Step::Reset => {
                stream.is_reset = true;
                stream.dropped[own] = true;
                Ok(Outcome::of(Saw::Done))
            }
            Step::Drop => {
                stream.pipes[own].is_finished = true;
                stream.dropped[own] = true;
                Ok(Outcome::of(Saw::Done))
            }
            _ => Err("not an operation on a stream".to_owned()),
        }
    }
}

impl Stream {
    fn write(&mut self, own: usize, bytes: u64, is_closed: bool) -> Result<Outcome, String> {
        let pipe = &mut self.pipes[own];
        if pipe.is_finished {
            return Ok(Outcome::of(Saw::Closed));
        }
        if self.is_reset {
            return Ok(Outcome::of(Saw::Reset));
        }
        if is_closed && bytes <= WINDOW {
            return Err("it may be done before the session is closed".to_owned());
        }
        if is_closed {
            return Ok(Outcome::of(Saw::Cut));
        }
        pipe.written += bytes;
        Ok(Outcome::of(Saw::Done))
    }

    fn read(
        &mut self,
        sender: usize,
        bytes: Option<u64>,
        is_closed: bool,
    ) -> Result<Outcome, String> {
        let is_reset = self.is_reset;
        let pipe = &mut self.pipes[sender];
        let unread = pipe.unread();
        if let Some(bytes) = bytes
            && bytes <= unread
        {
            pipe.read += bytes;
            return Ok(Outcome::after(bytes, Saw::Done));
        }
        pipe.read += unread;
        let saw = match (pipe.is_finished, is_reset, is_closed) {
            (true, ..) => Saw::End,
            (_, true, _) => Saw::Reset,
            (.., true) => Saw::Cut,
            _ => return Err("it would wait for a later write".to_owned()),
        };
        Ok(Outcome::after(unread, saw))
    }
}
