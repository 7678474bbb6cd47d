//! Taking one side's part against a live peer.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::io::{self, Read as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use keyway_mux::frame::{Flags, Frame, FrameDecoder, Kind};

use crate::audit::Audit;
use crate::conversation::{Call, Conversation};
use crate::cut::{Cut, Cutter};
use crate::http::Message;
use crate::recording::{Recording, Side};
use crate::script::Script;

/// How long the live peer may say nothing while something is expected of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// One call of the recording with the live peer's part in it.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The call as it was recorded.
    pub recorded: Call,
    /// What the live peer sent: the request if it asked, else the response.
    pub live: Message,
}

/// What a whole play came to.
#[derive(Debug)]
pub struct Transcript {
    /// The answer to the upgrade, when there was one.
    pub upgrade: Option<Message>,
    /// All calls, in the order in which the live peer's part was complete.
    pub exchanges: Vec<Exchange>,
    /// True when the live peer sent GoAway(0).
    pub went_away: bool,
    /// How many pings the live peer sent.
    pub pings: usize,
}

impl Transcript {
    /// The exchange at a path, the `nth` of them.
    pub fn at(&self, path: &str, nth: usize) -> Option<&Exchange> {
        let found = self.exchanges.iter();
        found.filter(|e| e.recorded.request.path() == path).nth(nth)
    }
}

/// Where a live peer parted from the recording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Parted {
    recording: String,
    cut: Cut,
    /// The next step of the script.
    at: String,
    reason: String,
}

impl fmt::Display for Parted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            recording,
            cut,
            at,
            reason,
        } = self;
        write!(f, "{recording} ({cut}) parted before {at}: {reason}")
    }
}

type Watch = Box<dyn Fn(&Exchange) + Send>;
type Same = Box<dyn Fn(&Call, &Message) -> bool + Send>;
type Optional = Box<dyn Fn(&Call) -> bool + Send>;

/// One side of a recording, to be played to a live peer over a socket.
pub struct Player {
    name: String,
    side: Side,
    script: Script,
    upgrade: Option<Vec<u8>>,
    cut: Cut,
    same: Same,
    optional: Optional,
    watch: Watch,
    eager: bool,
    /// The recorded peer ended the connection.
    peer_ends: bool,
}

impl fmt::Debug for Player {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Player");
        out.field("name", &self.name)
            .field("side", &self.side)
            .finish_non_exhaustive()
    }
}

impl Player {
    /// A player of `side` of a plugin connection.
    ///
    /// # Errors
    ///
    /// When the recording is no conversation.
    pub fn new(recording: &Recording, side: Side) -> Result<Self, crate::ConversationError> {
        let conversation: Conversation = recording.conversation()?;
        let script = Script::of(side, &conversation)?;
        let first = conversation.events.first();
        let peer_ends = first.is_some_and(|(ended, _)| *ended == side.peer());
        let upgrade = conversation.upgrade.map(|(asked, answered)| match side {
            Side::Plugin => asked,
            _ => answered,
        });
        Ok(Self {
            name: recording.name.clone(),
            side,
            script,
            upgrade,
            cut: Cut::Whole,
            same: Box::new(
                |call, live| matches!((call.request.body(), live.body()), (Ok(recorded), Ok(live)) if recorded == live),
            ),
            optional: Box::new(|_| false),
            watch: Box::new(|_| {}),
            eager: false,
            peer_ends,
        })
    }

    /// Cuts what is sent.
    #[must_use]
    pub fn cut(mut self, cut: Cut) -> Self {
        self.cut = cut;
        self
    }

    /// Compares a live request with the recorded one. The default wants equal
    /// bodies.
    #[must_use]
    pub fn same(mut self, same: impl Fn(&Call, &Message) -> bool + Send + 'static) -> Self {
        self.same = Box::new(same);
        self
    }

    /// Names the recorded calls that the live peer need not make.
    #[must_use]
    pub fn optional(mut self, optional: impl Fn(&Call) -> bool + Send + 'static) -> Self {
        self.optional = Box::new(optional);
        self
    }

    /// Is told of each exchange as soon as the live peer's part is complete.
    #[must_use]
    pub fn watch(mut self, watch: impl Fn(&Exchange) + Send + 'static) -> Self {
        self.watch = Box::new(watch);
        self
    }

    /// Puts this request for an upgrade before a recording that has none.
    #[must_use]
    pub fn by_hand(mut self, upgrade: Vec<u8>) -> Self {
        self.upgrade = Some(upgrade);
        self
    }

    /// Sends the first call at once, in the same write as the answer to the
    /// upgrade, instead of after the registration. Only a runtime may do that.
    #[must_use]
    pub fn eager(mut self) -> Self {
        let first = self
            .script
            .calls
            .iter()
            .find(|call| call.opener == self.side);
        if let Some(stream) = first.map(|call| call.stream) {
            let mut done = false;
            let (mut front, rest): (Vec<_>, Vec<_>) =
                self.script.steps.drain(..).partition(|step| {
                    done |= step.frame.header.stream_id == stream && step.frame.has(Flags::FIN);
                    step.frame.header.stream_id == stream && !done
                });
            front.iter_mut().for_each(|step| step.after.clear());
            front.extend(rest);
            self.script.steps = front;
        }
        self.eager = true;
        self
    }

    /// Plays to the end: until every frame was sent, every call made, every
    /// stream closed by the live peer, and the connection ended.
    ///
    /// # Errors
    ///
    /// When the live peer does something that the recorded one would not
    /// accept, makes other calls than the recorded peer, or stops.
    pub fn play(self, socket: UnixStream) -> Result<Transcript, Parted> {
        let audit = Audit::new(self.side.peer());
        let cutter = Cutter::new(self.cut);
        let mut stage = Stage {
            socket,
            cutter,
            audit,
            frames: FrameDecoder::new(),
            next: 0,
            live_of: HashMap::new(),
            heard: BTreeMap::new(),
            complete: HashSet::new(),
            skipped: HashSet::new(),
            transcript: Transcript {
                upgrade: None,
                exchanges: Vec::new(),
                went_away: false,
                pings: 0,
            },
            player: self,
        };
        match stage.run() {
            Ok(()) => Ok(stage.transcript),
            Err(reason) => Err(stage.parted(reason)),
        }
    }
}

/// What the live peer has sent on one stream.
#[derive(Debug, Default)]
struct Heard {
    bytes: Vec<u8>,
    ended: bool,
    done: bool,
}

/// A play under way.
struct Stage {
    player: Player,
    socket: UnixStream,
    cutter: Cutter,
    audit: Audit,
    frames: FrameDecoder,
    /// The next step of the script.
    next: usize,
    /// Live stream ids by recorded ones, for streams that the peer opened.
    live_of: HashMap<u32, u32>,
    heard: BTreeMap<u32, Heard>,
    /// Recorded streams on which the peer's message is complete.
    complete: HashSet<u32>,
    /// Recorded streams of optional calls that the peer did not make.
    skipped: HashSet<u32>,
    transcript: Transcript,
}

impl Stage {
    fn parted(&self, reason: String) -> Parted {
        let at = match self.player.script.steps.get(self.next) {
            Some(step) => format!("step {} ({})", self.next, step.frame),
            None => "its end".to_owned(),
        };
        Parted {
            recording: self.player.name.clone(),
            cut: self.player.cut,
            at,
            reason,
        }
    }

    fn run(&mut self) -> Result<(), String> {
        let patience = Some(PATIENCE);
        self.socket
            .set_read_timeout(patience)
            .map_err(|e| e.to_string())?;
        let prefix = self.take_upgrade()?;
        self.send_ready(prefix)?;
        while !self.finished() {
            let Some(bytes) = self.read()? else {
                return Err(format!(
                    "the peer closed the connection; {}",
                    self.waiting_for()
                ));
            };
            self.hear(&bytes)?;
            self.send_ready(Vec::new())?;
        }
        self.end()
    }

    /// Gives what has to be sent before the first frame.
    fn take_upgrade(&mut self) -> Result<Vec<u8>, String> {
        let Some(ours) = self.player.upgrade.take() else {
            return Ok(Vec::new());
        };
        if self.player.side == Side::Plugin {
            self.write(&ours)?;
            let (answer, rest) = self.read_head()?;
            if answer.status() != Some(101) {
                return Err(format!("the upgrade was answered with {:?}", answer.start));
            }
            self.transcript.upgrade = Some(answer);
            self.hear(&rest)?;
            return Ok(Vec::new());
        }
        let (request, rest) = self.read_head()?;
        if request.path() != "/hijack" || !rest.is_empty() {
            let extra = rest.len();
            return Err(format!(
                "the upgrade was {:?} and {extra} bytes more",
                request.start
            ));
        }
        self.transcript.upgrade = Some(request);
        if self.player.eager {
            return Ok(ours);
        }
        self.write(&ours)?;
        Ok(Vec::new())
    }

    fn read_head(&mut self) -> Result<(Message, Vec<u8>), String> {
        let mut bytes = Vec::new();
        loop {
            if let Some(message) = Message::take(&mut bytes, false).map_err(|e| e.to_string())? {
                return Ok((message, bytes));
            }
            let more = self
                .read()?
                .ok_or("the peer closed the connection before the upgrade")?;
            bytes.extend(more);
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let written = self.cutter.write(&self.socket, bytes);
        written.map_err(|e| format!("the peer took no more bytes: {e}"))
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>, String> {
        let mut buffer = vec![0; 16 * 1024];
        match self.socket.read(&mut buffer) {
            Ok(0) => Ok(None),
            Ok(length) => {
                buffer.truncate(length);
                Ok(Some(buffer))
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                let seconds = PATIENCE.as_secs();
                Err(format!(
                    "the peer said nothing for {seconds} s; {}",
                    self.waiting_for()
                ))
            }
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            Err(e) => Err(e.to_string()),
        }
    }

    /// Sends all steps whose time has come, behind `bytes`, in one write.
    fn send_ready(&mut self, mut bytes: Vec<u8>) -> Result<(), String> {
        while let Some(step) = self.player.script.steps.get(self.next) {
            let recorded = step.frame.header.stream_id;
            if !self.skipped.contains(&recorded) {
                let open = |stream: &u32| {
                    !self.complete.contains(stream) && !self.skipped.contains(stream)
                };
                if step.after.iter().any(open) {
                    break;
                }
                let mut frame = step.frame.clone();
                frame.header.stream_id = self.live_of.get(&recorded).copied().unwrap_or(recorded);
                self.audit.sent(&frame);
                bytes.extend(frame.encode());
            }
            self.next += 1;
        }
        self.write(&bytes)
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.frames.push(bytes);
        while let Some(frame) = self.frames.next_frame().map_err(|e| e.to_string())? {
            self.audit.received(&frame).map_err(|e| e.to_string())?;
            match frame.header.kind {
                Kind::Ping if frame.has(Flags::SYN) => self.answer_ping(&frame)?,
                Kind::Ping | Kind::GoAway => {}
                Kind::Data | Kind::WindowUpdate => self.hear_on_stream(frame)?,
            }
        }
        self.transcript.went_away = self.audit.went_away();
        Ok(())
    }

    fn answer_ping(&mut self, ping: &Frame) -> Result<(), String> {
        self.transcript.pings += 1;
        self.write(&Frame::ping(Flags::ACK, ping.header.length).encode())
    }

    fn hear_on_stream(&mut self, frame: Frame) -> Result<(), String> {
        if frame.has(Flags::RST) {
            return Err(format!("the peer reset stream {}", frame.header.stream_id));
        }
        let heard = self.heard.entry(frame.header.stream_id).or_default();
        heard.bytes.extend(&frame.payload);
        heard.ended |= frame.has(Flags::FIN);
        if heard.done {
            return match heard.bytes.len() {
                0 => Ok(()),
                extra => Err(format!(
                    "{extra} bytes follow the message of stream {}",
                    frame.header.stream_id
                )),
            };
        }
        let message = Message::take(&mut heard.bytes, heard.ended).map_err(|e| e.to_string())?;
        let Some(message) = message else {
            if heard.ended {
                return Err(format!(
                    "stream {} ended before its message",
                    frame.header.stream_id
                ));
            }
            return Ok(());
        };
        heard.done = true;
        if message.path().is_empty() {
            return self.answered(frame.header.stream_id, message);
        }
        // A Go server that reads the end of a request's stream gives the
        // handler up, whatever has been answered by then.
        if heard.ended {
            return Err(format!(
                "stream {} was ended before its answer was read",
                frame.header.stream_id
            ));
        }
        self.asked(frame.header.stream_id, message)
    }

    /// A response on a stream that this side opened.
    fn answered(&mut self, stream: u32, live: Message) -> Result<(), String> {
        let ours = |call: &&Call| call.stream == stream && call.opener == self.player.side;
        let recorded = self.player.script.calls.iter().find(ours).cloned();
        let recorded = recorded
            .ok_or_else(|| format!("an answer on stream {stream}, where nothing was asked"))?;
        self.complete.insert(stream);
        self.note(Exchange { recorded, live });
        Ok(())
    }

    fn note(&mut self, exchange: Exchange) {
        (self.player.watch)(&exchange);
        self.transcript.exchanges.push(exchange);
    }

    /// A request of the peer: the first of the recording that is the same.
    fn asked(&mut self, stream: u32, live: Message) -> Result<(), String> {
        let mut passed = Vec::new();
        for call in &self.player.script.calls {
            let over = self.complete.contains(&call.stream) || self.skipped.contains(&call.stream);
            if call.opener == self.player.side || over {
                continue;
            }
            let same = call.request.path() == live.path() && (self.player.same)(call, &live);
            if same {
                self.skipped.extend(passed);
                self.complete.insert(call.stream);
                self.live_of.insert(call.stream, stream);
                let recorded = call.clone();
                self.note(Exchange { recorded, live });
                return Ok(());
            }
            if !(self.player.optional)(call) {
                let (path, wanted) = (live.path(), call.request.path());
                return Err(format!(
                    "the peer asked {path} where {wanted} was recorded, or with another message"
                ));
            }
            passed.push(call.stream);
        }
        Err(format!("the peer asked {} once more", live.path()))
    }

    fn finished(&mut self) -> bool {
        let over = |stream: &u32| self.complete.contains(stream) || self.skipped.contains(stream);
        self.next == self.player.script.steps.len()
            && self
                .player
                .script
                .calls
                .iter()
                .all(|call| over(&call.stream))
            && self.audit.left_open().is_empty()
            && self.audit.pings_answered()
    }

    fn waiting_for(&self) -> String {
        let over = |stream: &u32| self.complete.contains(stream) || self.skipped.contains(stream);
        let mut missing: Vec<String> = Vec::new();
        for call in self
            .player
            .script
            .calls
            .iter()
            .filter(|call| !over(&call.stream))
        {
            missing.push(match call.opener == self.player.side {
                true => format!("the answer to {}", call.request.path()),
                false => format!("the call of {}", call.request.path()),
            });
        }
        missing.extend(
            self.audit
                .left_open()
                .iter()
                .map(|id| format!("the end of stream {id}")),
        );
        if !self.audit.pings_answered() {
            missing.push("the answer to a ping".to_owned());
        }
        format!("still missing: {}", missing.join(", "))
    }

    /// Hears the peer out, and ends this side at the time when the recorded one
    /// did.
    fn end(&mut self) -> Result<(), String> {
        if self.player.peer_ends {
            return self.hear_out();
        }
        match self.socket.shutdown(Shutdown::Write) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotConnected => {}
            Err(e) => return Err(e.to_string()),
        }
        self.hear_out()
    }

    fn hear_out(&mut self) -> Result<(), String> {
        while let Some(bytes) = self.read()? {
            self.hear(&bytes)?;
        }
        match self.frames.pending().len() {
            0 => Ok(()),
            extra => Err(format!("{extra} bytes of a frame were cut off")),
        }
    }
}
