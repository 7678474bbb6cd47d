//! Admission of calls: they wait until the daemon has accepted the registration.

use std::time::Duration;

use keyway_rpc::Error;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Progress of the registration.
#[derive(Clone, Copy, Debug)]
enum State {
    Registering,
    /// With the timeout of calls without a deadline.
    Registered(Duration),
}

/// Admits calls. Dropping it without [`open`](Self::open) refuses them.
#[derive(Debug)]
pub(crate) struct AdmissionControl(watch::Sender<State>);

/// Makes calls wait for the registration, each from its own arrival.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    state: watch::Receiver<State>,
    /// Limit for a call without a deadline.
    registration_timeout: Duration,
}

impl Admission {
    /// Creates an admission that waits for [`AdmissionControl::open`].
    pub(crate) fn pending(registration_timeout: Duration) -> (Self, AdmissionControl) {
        let (sender, state) = watch::channel(State::Registering);
        let admission = Self {
            state,
            registration_timeout,
        };
        (admission, AdmissionControl(sender))
    }

    /// Waits for the registration and returns the deadline of the call.
    ///
    /// That is the caller's deadline if the call has one, otherwise the arrival of the call plus the request timeout of the
    /// registration.
    ///
    /// # Errors
    ///
    /// Returns `deadline_exceeded` if the plugin is not registered in time, and `unavailable` if the registration failed.
    pub(crate) async fn admit(&self, deadline: Option<Instant>) -> Result<Instant, Error> {
        let arrived = Instant::now();
        let mut state = self.state.clone();
        let until = deadline.unwrap_or(arrived + self.registration_timeout);
        let opened = state.wait_for(|state| matches!(state, State::Registered(_)));
        let request_timeout = match timeout_at(until, opened).await {
            Ok(Ok(state)) => match *state {
                State::Registered(timeout) => timeout,
                State::Registering => return Err(not_registered_in_time()),
            },
            // The control was dropped: the registration failed, and the connection is about to end.
            Ok(Err(_)) => {
                return Err(Error::unavailable(
                    "the plugin is not registered with its daemon",
                ));
            }
            Err(_) => return Err(not_registered_in_time()),
        };
        Ok(deadline.unwrap_or(arrived + request_timeout))
    }
}

impl AdmissionControl {
    /// Admits calls from now on, those without a deadline for at most `request_timeout`.
    pub(crate) fn open(&self, request_timeout: Duration) {
        self.0.send_replace(State::Registered(request_timeout));
    }
}

fn not_registered_in_time() -> Error {
    Error::deadline_exceeded("the plugin did not register before the deadline of the call")
}

#[cfg(test)]
mod tests {
    use keyway_rpc::Code;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_from_its_own_arrival() {
        let (admission, _control) = Admission::pending(5 * SECOND);
        tokio::time::advance(60 * SECOND).await;
        let started = Instant::now();
        let error = admission.admit(None).await.unwrap_err();
        assert_eq!(
            (error.code(), started.elapsed()),
            (Code::DeadlineExceeded, 5 * SECOND)
        );
        let error = admission
            .admit(Some(Instant::now() + SECOND))
            .await
            .unwrap_err();
        assert_eq!(
            (error.code(), started.elapsed()),
            (Code::DeadlineExceeded, 6 * SECOND)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_calls_are_admitted_by_the_registration() {
        let (admission, control) = Admission::pending(5 * SECOND);
        let started = Instant::now();
        let waiting = admission.admit(None);
        let opening = async {
            tokio::time::sleep(3 * SECOND).await;
            control.open(10 * SECOND);
        };
        let (until, ()) = tokio::join!(waiting, opening);
        assert_eq!(until.unwrap(), started + 10 * SECOND);
        assert_eq!(started.elapsed(), 3 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn l03_a_call_ends_at_its_deadline_and_without_one_at_the_registered_timeout() {
        let (admission, control) = Admission::pending(5 * SECOND);
        control.open(10 * SECOND);
        let now = Instant::now();
        assert_eq!(
            admission.admit(Some(now + 3 * SECOND)).await.unwrap(),
            now + 3 * SECOND
        );
        assert_eq!(
            admission.admit(Some(now + 30 * SECOND)).await.unwrap(),
            now + 30 * SECOND
        );
        assert_eq!(admission.admit(None).await.unwrap(), now + 10 * SECOND);
    }

    #[tokio::test]
    async fn a_failed_registration_refuses_calls() {
        let (admission, control) = Admission::pending(SECOND);
        drop(control);
        assert_eq!(
            admission.admit(None).await.unwrap_err().code(),
            Code::Unavailable
        );
    }
}
