//! A replay in progress: the upgrade, the frames in both directions, and the end of the connection.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Read as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use keyway_test_support::frame::{Flags, Frame, FrameDecoder, Kind};

use super::player::Player;
use super::requests::Received;
use super::transcript::{Deviation, Transcript};
use crate::audit::Audit;
use crate::cut::Cutter;
use crate::http::Message;
use crate::recording::Side;

/// The time for which the live peer may be silent while a message of it is expected.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A replay in progress.
pub(super) struct Playback {
    pub(super) player: Player,
    socket: UnixStream,
    cutter: Cutter,
    pub(super) audit: Audit,
    frames: FrameDecoder,
    /// The next step of the script.
    pub(super) next: usize,
    /// Live stream ids by recorded ones, for streams that the peer opened.
    pub(super) live_of: HashMap<u32, u32>,
    pub(super) received: BTreeMap<u32, Received>,
    /// Recorded streams on which the peer's message is complete.
    pub(super) complete: HashSet<u32>,
    /// Recorded streams of optional calls that the peer did not make.
    pub(super) skipped: HashSet<u32>,
    pub(super) transcript: Transcript,
}

impl Playback {
    pub(super) fn new(player: Player, socket: UnixStream) -> Self {
        Self {
            socket,
            cutter: Cutter::new(player.cut),
            audit: Audit::new(player.side.peer()),
            frames: FrameDecoder::default(),
            next: 0,
            live_of: HashMap::new(),
            received: BTreeMap::new(),
            complete: HashSet::new(),
            skipped: HashSet::new(),
            transcript: Transcript {
                upgrade: None,
                exchanges: Vec::new(),
                sent_go_away: false,
                pings: 0,
            },
            player,
        }
    }

    pub(super) fn play(mut self) -> Result<Transcript, Deviation> {
        match self.run() {
            Ok(()) => Ok(self.transcript),
            Err(reason) => Err(self.deviation(reason)),
        }
    }

    fn deviation(&self, reason: String) -> Deviation {
        let at = match self.player.script.steps.get(self.next) {
            Some(step) => format!("step {} ({})", self.next, step.frame),
            None => "its end".to_owned(),
        };
        Deviation {
            recording: self.player.name.clone(),
            cut: self.player.cut,
            at,
            reason,
        }
    }

    fn run(&mut self) -> Result<(), String> {
        self.socket
            .set_read_timeout(Some(READ_TIMEOUT))
            .map_err(|e| e.to_string())?;
        let prefix = self.take_upgrade()?;
        self.send_ready(prefix)?;
        while !self.is_finished() {
            let Some(bytes) = self.read()? else {
                return Err(format!(
                    "the peer closed the connection; {}",
                    self.missing()
                ));
            };
            self.receive(&bytes)?;
            self.send_ready(Vec::new())?;
        }
        self.end()
    }

    /// Performs the upgrade, if there is one. Returns the bytes to send with the first frame.
    fn take_upgrade(&mut self) -> Result<Vec<u8>, String> {
        let Some(ours) = self.player.upgrade.take() else {
            return Ok(Vec::new());
        };
        if self.player.side == Side::Plugin {
            self.write(&ours)?;
            let (response, rest) = self.read_head()?;
            if response.status() != Some(101) {
                return Err(format!(
                    "the response to the upgrade was {:?}",
                    response.start
                ));
            }
            self.transcript.upgrade = Some(response);
            self.receive(&rest)?;
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
        written.map_err(|e| format!("the peer accepted no more bytes: {e}"))
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
                let seconds = READ_TIMEOUT.as_secs();
                Err(format!(
                    "the peer was silent for {seconds} s; {}",
                    self.missing()
                ))
            }
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            Err(e) => Err(e.to_string()),
        }
    }

    /// Sends all steps that are due, behind `bytes`, in one write.
    fn send_ready(&mut self, mut bytes: Vec<u8>) -> Result<(), String> {
        while let Some(step) = self.player.script.steps.get(self.next) {
            let recorded = step.frame.header.stream_id;
            if !self.skipped.contains(&recorded) {
                if step.after.iter().any(|stream| !self.is_done(*stream)) {
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

    fn receive(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.frames.push(bytes);
        while let Some(frame) = self.frames.next_frame().map_err(|e| e.to_string())? {
            self.audit.received(&frame).map_err(|e| e.to_string())?;
            match frame.header.kind {
                Kind::Ping if frame.has(Flags::SYN) => self.acknowledge_ping(&frame)?,
                Kind::Ping | Kind::GoAway => {}
                Kind::Data | Kind::WindowUpdate => self.receive_on_stream(frame)?,
            }
        }
        self.transcript.sent_go_away = self.audit.sent_go_away();
        Ok(())
    }

    fn acknowledge_ping(&mut self, ping: &Frame) -> Result<(), String> {
        self.transcript.pings += 1;
        self.write(&Frame::ping(Flags::ACK, ping.header.length).encode())
    }

    /// Reads to the end of the connection, and closes this side at the same point as the recorded one.
    fn end(&mut self) -> Result<(), String> {
        if self.player.peer_closes {
            return self.read_to_end();
        }
        match self.socket.shutdown(Shutdown::Write) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotConnected => {}
            Err(e) => return Err(e.to_string()),
        }
        self.read_to_end()
    }

    fn read_to_end(&mut self) -> Result<(), String> {
        while let Some(bytes) = self.read()? {
            self.receive(&bytes)?;
        }
        match self.frames.pending().len() {
            0 => Ok(()),
            extra => Err(format!("{extra} bytes of a frame were cut off")),
        }
    }
}
