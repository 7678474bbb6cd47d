//! One plugin: its calls, its state, and the task that owns it.
//!
//! [`connection::open`] makes a plugin of any byte stream, whether its process was launched or connected by itself; from there on
//! both are the same to the [`PluginTask`] and to its [`Handle`].

mod call_record;
mod calls;
mod connection;
mod ending;
mod flight;
mod host;
mod machine;
mod notices;
mod registration;
mod resources;
mod retry;
mod source;
mod state;
mod suspension;
mod task;
#[cfg(test)]
pub(crate) mod testing;
mod view;
mod writes;

pub(crate) use calls::{CallContext, CallError, Handle, Listed, Secrets};
pub(crate) use connection::{OpenOptions, Registrant, open};
pub(crate) use flight::Sharing;
pub(crate) use host::{Host, Publish};
pub(crate) use registration::RegistrationError;
pub(crate) use source::LaunchSource;
pub(crate) use state::run_status;
pub(crate) use suspension::Suspensions;
pub(crate) use task::{Arrival, Command, CommandSender, NotEnabled, PluginTask, Update};
pub(crate) use view::{Availability, View};
