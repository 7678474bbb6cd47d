//! The fixed faults of the misbehaving plugin.

use std::str::FromStr;

/// The environment variable with the plugin's behaviour.
pub const VARIABLE: &str = "KEYWAY_TEST_BEHAVIOUR";

macro_rules! behaviours {
    ($($(#[$doc:meta])* $variant:ident),+ $(,)?) => {
        /// The behaviour of the plugin. The tests and the plugin share this one list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(clippy::exhaustive_enums, reason = "a list for tests of this workspace")]
        pub enum Behaviour {
            $($(#[$doc])* $variant,)+
        }

        impl Behaviour {
            /// All behaviours.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The text for [`VARIABLE`].
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($variant),)+
                }
            }
        }
    };
}

behaviours! {
    /// Ends with status 3 before it sends anything, with a line on standard error.
    ExitBeforeHello,
    /// Sends bytes that are not yamux.
    Garbage,
    /// Responds correctly: every id below its own name has a value.
    Good,
    /// Writes 4 MiB to standard error before it registers, then responds correctly.
    HugeStderr,
    /// Responds to Shutdown, then ignores the end of its connection and SIGINT.
    IgnoreShutdown,
    /// Never registers, and keeps the connection open.
    NeverRegister,
    /// Returns ids of another realm, too.
    OutsideRealm,
    /// Ends with status 4 at a query for an id that ends in `crash`.
    CrashOnRequest,
    /// Never responds to a query for an id that ends in `slow`.
    Slow,
    /// Has a helper process in its group.
    StartHelper,
    /// Registers with an invalid version.
    WrongVersion,
    /// Registers with another name than that of its launch.
    WrongName,
    /// Responds to every query with an error whose text is in the response alone.
    Fail,
    /// Responds to every query at once that its backend timed out.
    BackendTimedOut,
    /// Returns each secret twice, with invalid times.
    Careless,
    /// Registers at the path of the plugin SDKs of 2025 and serves only their method.
    TooOld,
    /// Registers the realm `**`.
    OwnEverything,
    /// Registers as an access-control module that denies ids which end in `denied`.
    AccessControl,
}

impl FromStr for Behaviour {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL
            .iter()
            .find(|behaviour| behaviour.as_str() == text);
        found
            .copied()
            .ok_or_else(|| format!("{VARIABLE} has no {text:?}"))
    }
}
