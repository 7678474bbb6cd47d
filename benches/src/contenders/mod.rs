//! The contenders: calls of 64 bytes, by the crates of the workspace and by others.

mod connectrpc;
mod echo;
mod grpc;
mod hyper_alone;
mod kept_alive;
mod message;
mod rpc;
mod ttrpc;

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Mutex;
use tokio::task::LocalSet;

use crate::thread_time::thread_time;

pub use self::connectrpc::ConnectRpc;
pub use self::echo::RawEcho;
pub use self::grpc::Tonic;
pub use self::hyper_alone::{HyperFreshStream, HyperKeptAlive};
pub use self::message::Payload;
pub use self::rpc::{RpcFreshStream, RpcKeptAlive};
pub use self::ttrpc::Ttrpc;

/// One way to make a call, with both of its ends on the current thread.
pub trait Contender: Sized {
    /// Connects both ends; servers run as local tasks.
    fn start() -> impl Future<Output = Self>;

    /// Makes one call and checks the response.
    fn call(&mut self) -> impl Future<Output = ()>;
}

/// A contender of any type, ready to be measured.
pub struct Running {
    /// The name in reports.
    pub name: &'static str,
    measure: Box<dyn FnMut(u64) -> Duration>,
}

impl Running {
    /// Starts a contender on a thread-local runtime of its own.
    ///
    /// # Panics
    ///
    /// Panics if the runtime or the contender cannot be started.
    #[must_use]
    pub fn start<C: Contender + 'static>(name: &'static str) -> Self {
        let runtime = runtime();
        let tasks = LocalSet::new();
        let contender = tasks.block_on(&runtime, C::start());
        let contender = Rc::new(Mutex::new(contender));
        let measure = move |calls| {
            let contender = Rc::clone(&contender);
            // In a task, as in most programs: a runtime polls its root future only after it has polled the sockets.
            let calling = tasks.spawn_local(async move {
                let mut contender = contender.lock().await;
                let started = thread_time();
                for _ in 0..calls {
                    contender.call().await;
                }
                thread_time() - started
            });
            let calling = tasks.block_on(&runtime, calling);
            calling.expect("no call panics")
        };
        Self {
            name,
            measure: Box::new(measure),
        }
    }

    /// Makes this many calls, one after the other, and returns the CPU time that they took together.
    pub fn measure(&mut self, calls: u64) -> Duration {
        (self.measure)(calls)
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be started")
}

/// Returns the contenders of the unary group, in the order of reports.
#[must_use]
pub fn unary() -> Vec<Running> {
    vec![
        Running::start::<RawEcho>("raw 64-byte echo"),
        Running::start::<HyperKeptAlive>("hyper alone, kept alive"),
        Running::start::<RpcKeptAlive>("keyway-rpc, kept alive"),
        Running::start::<HyperFreshStream>("hyper alone, fresh stream"),
        Running::start::<RpcFreshStream>("keyway-rpc, fresh stream"),
        Running::start::<ConnectRpc>("connectrpc, kept alive"),
        Running::start::<Ttrpc>("ttrpc, kept alive"),
        Running::start::<Tonic>("tonic over h2, kept alive"),
    ]
}
