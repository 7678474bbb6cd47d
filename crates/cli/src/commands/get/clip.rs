//! `keyway get --clip`: a value in the clipboard for a while.

use std::io;
use std::time::Duration;

use keyway_resolver::Envelope;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use crate::clipboard::{Clipboard, MAX_LEN};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;

/// How long the value stays.
const STAY: Duration = Duration::from_secs(45);

/// Copies the value, waits until its time has passed or a signal arrives, and empties the clipboard if it still holds it.
pub(super) async fn run(envelope: &Envelope) -> Result<Exit, Failure> {
    let (id, value) = (&envelope.id, envelope.value.expose());
    let Some(clipboard) = Clipboard::of_process() else {
        return Err(Failure::error(
            "there is no clipboard: neither a desktop with wl-copy, xclip or xsel, nor a terminal",
            "Install one of these programs, or write the value with --value to where it is needed",
        ));
    };
    if value.len() > MAX_LEN {
        return Err(Failure::error(
            format_args!(
                "the value of {id} has more than the {MAX_LEN} bytes that a clipboard takes"
            ),
            "Write it to a file with --value",
        ));
    }
    // Before the value is there, so that no signal leaves it behind.
    let mut signals = Signals::catch().map_err(failed)?;
    clipboard.copy(value).await.map_err(failed)?;
    output::note(match clipboard {
        Clipboard::Desktop(_) => format!(
            "the value of {id} is in the clipboard for {} s, Ctrl-C removes it now; a clipboard manager may keep it longer",
            STAY.as_secs()
        ),
        Clipboard::Terminal => format!(
            "the value of {id} was sent to the clipboard of the terminal, if it has one, for {} s; Ctrl-C removes it now",
            STAY.as_secs()
        ),
    });
    tokio::select! {
        () = sleep(STAY) => {}
        () = signals.received() => {}
    }
    match clipboard.clear(value).await.map_err(failed)? {
        true => output::note("the clipboard is empty"),
        false => output::note("the clipboard holds something else by now, which stays"),
    }
    Ok(Exit::Done)
}

fn failed(error: io::Error) -> Failure {
    Failure::error(
        format_args!("the clipboard cannot be used: {error}"),
        "Check that the display can be reached; the value may still be in the clipboard",
    )
}

/// The signals that end a program.
struct Signals([Signal; 3]);

impl Signals {
    fn catch() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn received(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
