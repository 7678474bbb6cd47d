//! A service of two echo methods.

use std::future::Future;

use keyway_rpc::{Error, Idempotency, MethodSpec, Request, Response, Route, Router};
use prost::Message;

/// A message with one string.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Text {
    /// Any text.
    #[prost(string, tag = "1")]
    pub text: String,
}

impl prost::Name for Text {
    const NAME: &'static str = "Text";
    const PACKAGE: &'static str = "test";

    fn full_name() -> String {
        "test.Text".to_owned()
    }
}

/// The method that is called with POST alone.
pub static ECHO: MethodSpec = MethodSpec::unary("/test.Echo/Echo");

/// The method that may be called with GET.
pub static READ: MethodSpec =
    MethodSpec::unary("/test.Echo/Read").with_idempotency(Idempotency::NoSideEffects);

async fn echo(request: Request<Text>) -> Result<Response<Text>, Error> {
    Ok(Response::new(request.into_message()))
}

/// A server of both.
pub fn router() -> Router {
    Router::new()
        .add_route(Route::unary(&ECHO, echo))
        .add_route(Route::unary(&READ, echo))
}

/// Runs a future in virtual time.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing");
    runtime.block_on(future)
}
