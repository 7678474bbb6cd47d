//! Serving: the [`Router`] and what generated servers hand to it.

mod answer_errors;
mod dispatch;
mod guard;
mod not_found;
mod route;
mod router;
mod shared;

pub use self::answer_errors::{AnswerErrors, AnswerFuture};
pub use self::not_found::NotFound;
pub use self::route::{IntoRoutes, Route};
pub use self::router::{ResponseFuture, Router};
