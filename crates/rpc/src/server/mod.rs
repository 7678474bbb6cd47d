//! The [`Router`], and the routes that generated servers pass to it.

mod catch_panic;
mod dispatch;
mod methods;
mod not_found;
mod recover_error;
mod request_body;
mod route;
mod router;
mod settings;
mod timeout;

pub use self::methods::Methods;
pub use self::not_found::NotFound;
pub use self::recover_error::{RecoverError, RecoverErrorLayer, RecoverFuture};
pub use self::route::{IntoRoutes, Route};
pub use self::router::{ResponseFuture, Router};
