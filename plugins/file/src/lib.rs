//! Keyway's default provider: secrets in a local directory, encrypted with age.
//!
//! This is a library, so that `keyway set` can write to the store that the plugin reads. It is not a vault: it
//! protects the files on a disk or in a backup, not secrets from programs that run as the same user. The README has
//! the details.
//!
//! - [`Store`] reads and writes the directory of a [`StoreConfig`].
//! - [`Store::back_up`] writes a [`Backup`], and [`Store::install`] restores one.
//! - [`FileProvider`] serves a store, and [`run`] is the main function of the plugin process.
//! - [`StoreError`] names the file, the cause and the remedy.
//!
//! ```
//! use keyway_plugin_file::{Store, StoreConfig};
//!
//! # let dir = tempfile::tempdir()?;
//! let store = Store::new(StoreConfig::new(dir.path().join("store")));
//! store.set(&"web/token".parse()?, &"not-a-real-token".into())?;
//! for entry in store.list(&"**".parse()?)? {
//!     println!("{} (version {})", entry.id, entry.current.number);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod config;
mod error;
mod provider;
mod store;

pub use config::{
    DEFAULT_LOCK_WAIT, DEFAULT_VERSIONS_KEPT, IDENTITY_VARIABLE, PASSPHRASE_FILE_VARIABLE,
    REMOVED_KEPT_FOR, STORE_VARIABLE, StoreConfig,
};
pub use error::StoreError;
pub use keyway_plugin_sdk::Expected;
pub use provider::{FileProvider, run};
pub use store::{
    Backup, BackupReport, CheckedBackup, Entry, Installed, MAX_RESPONSE_LEN, MAX_VALUE_LEN,
    Protection, RestoreKey, Store, Version,
};
