//! Serving: the [`Router`] and what generated servers hand to it.

mod dispatch;
mod guard;
mod route;
mod router;

pub use self::route::{IntoRoutes, Route};
pub use self::router::{NotFound, ResponseFuture, Router};
