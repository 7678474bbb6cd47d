//! The exit codes that scripts depend on.

use std::process::ExitCode;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything was done: 0.
    Done,
    /// It did not work, for a reason without a code of its own: 1.
    Error,
    /// The command line is wrong: 2.
    Usage,
    /// There is no such secret or plugin: 3.
    NotFound,
    /// Access was denied: 4.
    Denied,
    /// The daemon or a provider could not be asked; what the others answered was printed: 5.
    Unavailable,
    /// `keyway run` ends as its child did: the child's code, or 128 and the number of the signal that ended it.
    Child(u8),
}

impl Exit {
    /// The number that the parent process sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Denied => 4,
            Self::Unavailable => 5,
            Self::Child(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
