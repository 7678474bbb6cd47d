//! The gate in front of the provider: closed until the daemon has answered the registration.

use std::time::Duration;

use keyway_rpc::Error;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Where the registration stands.
#[derive(Clone, Copy, Debug)]
enum State {
    Registering,
    /// With the time that the daemon gives each call.
    Registered(Duration),
}

/// Opens the gate. A gate whose key was dropped stays closed.
#[derive(Debug)]
pub(crate) struct Key(watch::Sender<State>);

/// Lets calls wait for the registration, each from its own arrival.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    state: watch::Receiver<State>,
    /// How long a call waits that brings no deadline of its own.
    patience: Duration,
}

impl Gate {
    /// A closed gate, with the key to it.
    pub(crate) fn closed(patience: Duration) -> (Self, Key) {
        let (key, state) = watch::channel(State::Registering);
        (Self { state, patience }, Key(key))
    }

    /// Waits until the gate is open, and returns until when the call may take.
    ///
    /// The caller's deadline alone bounds a call that brings one. The daemon's time-out at registration is for calls without
    /// one, and runs from the arrival of the call.
    pub(crate) async fn pass(&self, deadline: Option<Instant>) -> Result<Instant, Error> {
        let arrived = Instant::now();
        let mut state = self.state.clone();
        let until = deadline.unwrap_or(arrived + self.patience);
        let opened = state.wait_for(|state| matches!(state, State::Registered(_)));
        let request_timeout = match timeout_at(until, opened).await {
            Ok(Ok(state)) => match *state {
                State::Registered(timeout) => timeout,
                State::Registering => return Err(too_early()),
            },
            // The key is gone: the registration failed, and the connection is about to end.
            Ok(Err(_)) => {
                return Err(Error::unavailable(
                    "the plugin could not register with its daemon",
                ));
            }
            Err(_) => return Err(too_early()),
        };
        Ok(deadline.unwrap_or(arrived + request_timeout))
    }
}

impl Key {
    /// Lets calls through from now on, each for at most `request_timeout`.
    pub(crate) fn open(&self, request_timeout: Duration) {
        self.0.send_replace(State::Registered(request_timeout));
    }
}

fn too_early() -> Error {
    Error::deadline_exceeded(
        "the plugin was asked before it was registered, and the call could not wait longer",
    )
}

#[cfg(test)]
mod tests {
    use keyway_rpc::Code;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_from_its_own_arrival() {
        let (gate, _key) = Gate::closed(5 * SECOND);
        tokio::time::advance(60 * SECOND).await;
        let started = Instant::now();
        let error = gate.pass(None).await.unwrap_err();
        assert_eq!(
            (error.code(), started.elapsed()),
            (Code::DeadlineExceeded, 5 * SECOND)
        );
        let error = gate.pass(Some(Instant::now() + SECOND)).await.unwrap_err();
        assert_eq!(
            (error.code(), started.elapsed()),
            (Code::DeadlineExceeded, 6 * SECOND)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_opened_gate_lets_waiting_calls_through() {
        let (gate, key) = Gate::closed(5 * SECOND);
        let started = Instant::now();
        let waiting = gate.pass(None);
        let opening = async {
            tokio::time::sleep(3 * SECOND).await;
            key.open(10 * SECOND);
        };
        let (until, ()) = tokio::join!(waiting, opening);
        assert_eq!(until.unwrap(), started + 10 * SECOND);
        assert_eq!(started.elapsed(), 3 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn l03_the_deadline_of_a_call_counts_and_the_registered_time_out_without_one() {
        let (gate, key) = Gate::closed(5 * SECOND);
        key.open(10 * SECOND);
        let now = Instant::now();
        assert_eq!(
            gate.pass(Some(now + 3 * SECOND)).await.unwrap(),
            now + 3 * SECOND
        );
        assert_eq!(
            gate.pass(Some(now + 30 * SECOND)).await.unwrap(),
            now + 30 * SECOND
        );
        assert_eq!(gate.pass(None).await.unwrap(), now + 10 * SECOND);
    }

    #[tokio::test]
    async fn a_failed_registration_turns_calls_away() {
        let (gate, key) = Gate::closed(SECOND);
        drop(key);
        assert_eq!(gate.pass(None).await.unwrap_err().code(), Code::Unavailable);
    }
}
