//! One module for each command: what it takes, and what it does.

pub(crate) mod audit;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod doctor;
mod explain;
pub(crate) mod export;
pub(crate) mod get;
pub(crate) mod import;
pub(crate) mod inject;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod mv;
pub(crate) mod plugins;
pub(crate) mod restore;
pub(crate) mod rm;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod service;
pub(crate) mod set;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod store;
pub(crate) mod version;
pub(crate) mod versions;
