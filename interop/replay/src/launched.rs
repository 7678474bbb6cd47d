//! The plugin's side of a recording as a plugin process, which a runtime launches.

use std::env;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::cut::Cut;
use crate::inherited;
use crate::play::{Deviation, Player, Transcript};
use crate::recording::{Recording, Side};

/// The variable that names the recording.
pub const RECORDING: &str = "KEYWAY_REPLAY_RECORDING";
/// The variable that names its cut: `whole`, `bytes` or `random:SEED`.
pub const CUT: &str = "KEYWAY_REPLAY_CUT";
/// The variable that names the file for the [`Outcome`].
pub const OUTCOME: &str = "KEYWAY_REPLAY_OUTCOME";

/// The result of a replay in another process, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The deviation of the runtime from the recording, if there was one.
    pub deviation: Option<String>,
    /// Path and body of each message of the runtime, requests and responses.
    pub exchanges: Vec<OutcomeExchange>,
    /// `true` if the runtime sent GoAway(0).
    pub sent_go_away: bool,
}

/// One message of the runtime.
#[derive(Debug, Serialize, Deserialize)]
pub struct OutcomeExchange {
    /// The path of the call.
    pub path: String,
    /// The status, when the message is a response.
    pub status: Option<u16>,
    /// Header names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body without its compression.
    pub body: Vec<u8>,
}

impl From<Result<Transcript, Deviation>> for Outcome {
    fn from(played: Result<Transcript, Deviation>) -> Self {
        let transcript = match played {
            Ok(transcript) => transcript,
            Err(deviation) => {
                return Self {
                    deviation: Some(deviation.to_string()),
                    exchanges: Vec::new(),
                    sent_go_away: false,
                };
            }
        };
        let exchanges = transcript.exchanges.iter().map(|exchange| OutcomeExchange {
            path: exchange.recorded.request.path().to_owned(),
            status: exchange.live.status(),
            headers: exchange.live.headers.clone(),
            // The player has compared bodies, so they can be read.
            body: exchange.live.body().unwrap_or_default(),
        });
        Self {
            deviation: None,
            exchanges: exchanges.collect(),
            sent_go_away: transcript.sent_go_away,
        }
    }
}

/// Creates a player of a plugin recording against Keyway's runtime. The requester of an access-control module is not compared,
/// because it is another program than in the recording.
///
/// # Errors
///
/// Returns the reason if the recording cannot be read.
pub fn plugin_player(name: &str, cut: Cut) -> Result<Player, String> {
    let recording = Recording::load(name).map_err(|e| e.to_string())?;
    let player = Player::new(&recording, Side::Plugin).map_err(|e| e.to_string())?;
    let player = player.cut(cut).same(|call, live| {
        let (Ok(recorded), Ok(live)) = (call.request.body(), live.body()) else {
            return false;
        };
        if call.request.path().starts_with("/accesscontrol.") {
            return patterns(&recorded) == patterns(&live);
        }
        recorded == live
    });
    // Keyway rejects a request without patterns itself.
    Ok(player.optional(|call| {
        let authorize = call.request.path() == "/accesscontrol.v1.AccessControlService/Authorize";
        authorize
            && call
                .request
                .body()
                .is_ok_and(|body| patterns(&body).is_empty())
    }))
}

/// The first fields of a request to an access-control module: its patterns.
fn patterns(mut body: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let [0x0a, length, rest @ ..] = body {
        let Some((pattern, rest)) = rest.split_at_checked(usize::from(*length)) else {
            break;
        };
        found.push(pattern);
        body = rest;
    }
    found
}

/// Runs the process.
pub fn run() -> ExitCode {
    let played = play();
    let (outcome, code) = match played {
        Ok(outcome) => (outcome, ExitCode::SUCCESS),
        Err(reason) => (
            Outcome {
                deviation: Some(reason),
                exchanges: Vec::new(),
                sent_go_away: false,
            },
            ExitCode::FAILURE,
        ),
    };
    let Some(path) = env::var_os(OUTCOME).map(PathBuf::from) else {
        return ExitCode::FAILURE;
    };
    // The test waits for the file, so it must appear whole.
    let partial = path.with_extension("partial");
    let text = serde_json::to_vec(&outcome).unwrap_or_default();
    match fs::write(&partial, text).and_then(|()| fs::rename(&partial, &path)) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn play() -> Result<Outcome, String> {
    let variable = |name: &str| env::var(name).map_err(|_| format!("{name} is not set"));
    let cut: Cut = variable(CUT)?.parse()?;
    let player = plugin_player(&variable(RECORDING)?, cut)?;
    let launch = variable("DOCKER_SECRETS_ENGINE_PLUGIN_LAUNCH_CFG")?;
    let launch: serde_json::Value = serde_json::from_str(&launch).map_err(|e| e.to_string())?;
    let fd = launch["fd"].as_i64().and_then(|fd| i32::try_from(fd).ok());
    let fd = fd
        .filter(|fd| *fd > 2)
        .ok_or("the launch variable names no descriptor")?;
    let socket: UnixStream = inherited::socket(fd).map_err(|e| e.to_string())?;
    Ok(player.play(socket).into())
}
