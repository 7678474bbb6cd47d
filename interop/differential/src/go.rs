//! The actor of the Go program on HashiCorp's library.

use std::{
    collections::HashMap,
    io,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use keyway_interop::GoPrograms;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex as AsyncMutex, oneshot},
    task::JoinSet,
    time::timeout,
};

use crate::{
    actor::{Act, Actor, Performed, Performing},
    outcome::{Outcome, Saw},
    script::{End, Pace, Settings},
};

/// Limit for the start of the program, and for the beginning of a session.
const START: Duration = Duration::from_secs(20);

/// A running program. It plays one session at a time, and is killed when dropped.
#[derive(Debug)]
pub struct GoPeer {
    child: Child,
    control: Arc<Control>,
    data: UnixListener,
    /// Owns the sockets' names.
    _folder: tempfile::TempDir,
    _tasks: JoinSet<()>,
}

/// The outstanding commands.
#[derive(Debug)]
struct Control {
    writer: AsyncMutex<OwnedWriteHalf>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Reply>>>,
    next: AtomicU64,
}

/// The response of the program.
#[derive(Clone, Debug, Deserialize)]
pub struct Reply {
    id: u64,
    /// The observation of the application.
    pub saw: Saw,
    /// The error text of the library.
    #[serde(default)]
    pub text: String,
    /// The id of an opened stream.
    pub stream: u32,
    /// Bytes, or how often something was done.
    pub bytes: u64,
    /// Open streams, of the act `count`.
    pub streams: usize,
    /// Goroutines of the process.
    pub goroutines: usize,
    /// Descriptors of the process.
    pub descriptors: usize,
}

impl GoPeer {
    /// Starts the program.
    ///
    /// # Errors
    ///
    /// Fails if the program cannot be started, or does not connect within 20 s.
    pub async fn start(programs: &GoPrograms) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (at_control, at_data) = (folder.path().join("control"), folder.path().join("data"));
        let control = UnixListener::bind(&at_control)?;
        let data = UnixListener::bind(&at_data)?;
        let mut child = Command::new(programs.path("actor"))
            .arg("-control")
            .arg(&at_control)
            .arg("-data")
            .arg(&at_data)
            .stdin(Stdio::null())
            .spawn()?;
        let connection = timeout(START, control.accept()).await;
        let Ok(Ok((connection, _))) = connection else {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
            return Err(io::Error::other("the Go program did not connect"));
        };
        let (reader, writer) = connection.into_split();
        let control = Arc::new(Control {
            writer: AsyncMutex::new(writer),
            waiting: Mutex::new(HashMap::new()),
            next: AtomicU64::new(1),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&control).receive(reader));
        Ok(Self {
            child,
            control,
            data,
            _folder: folder,
            _tasks: tasks,
        })
    }

    /// The id of the process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Begins a session with the settings of a script; the one before ends.
    ///
    /// # Errors
    ///
    /// Fails if the program does not connect within 20 s.
    pub async fn session(
        &mut self,
        end: End,
        settings: &Settings,
    ) -> io::Result<(UnixStream, GoEnd)> {
        self.session_with(end, settings, json!({})).await
    }

    /// The same with more settings: `open_timeout` in milliseconds.
    ///
    /// # Errors
    ///
    /// Fails if the program does not connect within 20 s.
    pub async fn session_with(
        &mut self,
        end: End,
        settings: &Settings,
        more: Value,
    ) -> io::Result<(UnixStream, GoEnd)> {
        let mut start = json!({
            "act": "start",
            "role": end.to_string(),
            "accept_queue": settings.accept_queue[end.index()],
            "keep_alive": settings.keep_alive,
            "window": settings.window,
        });
        if let (Some(start), Value::Object(more)) = (start.as_object_mut(), more) {
            start.extend(more);
        }
        let started = async {
            let (reply, connection) = tokio::join!(self.control.call(start), self.data.accept());
            match reply {
                Some(_) => Ok(connection?.0),
                None => Err(io::Error::other("the Go program has ended")),
            }
        };
        let connection = timeout(START, started).await??;
        let control = Arc::clone(&self.control);
        Ok((connection, GoEnd { control }))
    }
}

impl Drop for GoPeer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Control {
    fn waiting<T>(&self, action: impl FnOnce(&mut HashMap<u64, oneshot::Sender<Reply>>) -> T) -> T {
        action(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn receive(self: Arc<Self>, reader: OwnedReadHalf) {
        let mut lines = BufReader::new(reader).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let Ok(reply) = serde_json::from_str::<Reply>(&line) else {
                break;
            };
            let caller = self.waiting(|waiting| waiting.remove(&reply.id));
            if let Some(caller) = caller {
                // The caller may have timed out.
                let _ = caller.send(reply);
            }
        }
        // All waiting callers are notified of the end.
        self.waiting(HashMap::clear);
    }

    async fn call(&self, mut command: Value) -> Option<Reply> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        command["id"] = id.into();
        let (sender, reply) = oneshot::channel();
        self.waiting(|waiting| waiting.insert(id, sender));
        let line = format!("{command}\n");
        let written = self.writer.lock().await.write_all(line.as_bytes()).await;
        written.ok()?;
        reply.await.ok()
    }
}

/// One end of a session in the program.
#[derive(Clone, Debug)]
pub struct GoEnd {
    control: Arc<Control>,
}

impl GoEnd {
    /// Sends the program a command that no script contains.
    ///
    /// # Errors
    ///
    /// Fails if the program has ended.
    pub async fn call(&self, command: Value) -> io::Result<Reply> {
        let reply = self.control.call(command).await;
        reply.ok_or_else(|| io::Error::other("the Go program has ended"))
    }
}

impl Actor for GoEnd {
    fn perform(&self, act: Act) -> Performing<'_> {
        Box::pin(async move {
            let Some(reply) = self.control.call(command(act)).await else {
                return Outcome::of(Saw::Other)
                    .with_text("the Go program has ended")
                    .into();
            };
            let bytes = match act {
                Act::OpenStreams => reply.streams as u64,
                _ => reply.bytes,
            };
            let opened = matches!(act, Act::Open { .. }) && reply.saw == Saw::Done;
            Performed {
                outcome: Outcome::after(bytes, reply.saw).with_text(reply.text),
                stream: opened.then_some(reply.stream),
            }
        })
    }
}

fn command(act: Act) -> Value {
    let on = |name, stream: u32| json!({ "act": name, "stream": stream });
    let (mut command, pace) = match act {
        Act::Accepting => (json!({ "act": "accepting" }), Pace::Fast),
        Act::Open { .. } => (json!({ "act": "open" }), Pace::Fast),
        Act::OpenRefused => (json!({ "act": "open_refused" }), Pace::Fast),
        Act::GoAway => (json!({ "act": "go_away" }), Pace::Fast),
        Act::Close => (json!({ "act": "close" }), Pace::Fast),
        Act::Ended => (json!({ "act": "ended" }), Pace::Fast),
        Act::NoMoreStreams => (json!({ "act": "no_more_streams" }), Pace::Fast),
        Act::OpenStreams => (json!({ "act": "count" }), Pace::Fast),
        Act::Accept(stream) => (on("accept", stream), Pace::Fast),
        Act::Write(stream, _) => (on("write", stream), Pace::Fast),
        Act::Read(stream, _, pace) => (on("read", stream), pace),
        Act::ReadEnd(stream, pace) => (on("read_end", stream), pace),
        Act::Finish(stream) => (on("finish", stream), Pace::Fast),
        Act::Reset(stream) => (on("reset", stream), Pace::Fast),
        Act::Drop(stream) => (on("drop", stream), Pace::Fast),
    };
    if let Act::Write(_, bytes) | Act::Read(_, bytes, _) = act {
        command["bytes"] = bytes.into();
    }
    if let Pace::Slow { chunk, pause } = pace {
        command["chunk"] = chunk.into();
        command["pause"] = pause.into();
    }
    command
}
