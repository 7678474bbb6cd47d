//! What the misbehaving plugin can do wrong.

use std::str::FromStr;

/// The environment variable that tells the plugin how to behave.
pub const VARIABLE: &str = "KEYWAY_TEST_BEHAVIOUR";

macro_rules! behaviours {
    ($($(#[$doc:meta])* $variant:ident),+ $(,)?) => {
        /// How the plugin behaves. The tests and the plugin share this one list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(clippy::exhaustive_enums, reason = "a list for tests of this workspace")]
        pub enum Behaviour {
            $($(#[$doc])* $variant,)+
        }

        impl Behaviour {
            /// All of them.
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
    /// Ends with status 3 before it says anything, with a last word on stderr.
    ExitBeforeHello,
    /// Sends what is no yamux.
    Garbage,
    /// Answers correctly: every id below its own name has a value.
    Good,
    /// Fills standard error with four mebibytes before it registers, then answers correctly.
    HugeStderr,
    /// Answers Shutdown, then neither sees the end of its connection nor SIGINT.
    IgnoreShutdown,
    /// Never registers, and keeps the connection open.
    NeverRegister,
    /// Answers with ids of another realm as well.
    OutsideRealm,
    /// Ends with status 4 when it is asked for an id that ends in `crash`.
    CrashOnRequest,
    /// Never answers when it is asked for an id that ends in `slow`.
    Slow,
    /// Has a helper process in its group.
    StartHelper,
    /// Registers with a version that is none.
    WrongVersion,
    /// Registers with another name than it was given.
    WrongName,
    /// Answers every query with an error whose text is in the answer only.
    Fail,
    /// Answers every query at once with the deadline of a backend of its own.
    BackendTimedOut,
    /// Gives each secret twice, with times that are none.
    Careless,
    /// Registers at the path of plugin SDKs of 2025 and knows only their method.
    TooOld,
    /// Registers a realm that is everything.
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
