//! The exit codes that scripts depend on.

use std::cmp::Ordering;
use std::process::ExitCode;

/// An exit code of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Success: 0.
    Done,
    /// Any other error: 1.
    Error,
    /// The command line or the configuration is invalid: 2.
    Usage,
    /// There is no such secret or plugin: 3.
    NotFound,
    /// Access was denied: 4.
    Denied,
    /// The daemon or a provider is not available: 5. A query for a pattern still prints the certain secrets.
    Unavailable,
    /// A store is locked or not logged in, or the user is needed: 6.
    NeedsUser,
    /// The exit code of the child of `keyway run`: the child's code, or 128 plus the number of the signal that ended it.
    Child(u8),
}

impl Exit {
    /// Returns the number of the exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Denied => 4,
            Self::Unavailable => 5,
            Self::NeedsUser => 6,
            Self::Child(code) => code,
        }
    }
}

impl Exit {
    /// Returns the kind of an error in the output of `--json`.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Done => "none",
            Self::Error => "error",
            Self::Usage => "usage",
            Self::NotFound => "not_found",
            Self::Denied => "denied",
            Self::Unavailable => "unavailable",
            Self::NeedsUser => "needs_user",
            Self::Child(_) => "command",
        }
    }

    /// Returns the precedence of a code if several errors occurred, lowest first: 2, 4, 6, 5, 1, 3.
    fn precedence(self) -> u8 {
        match self {
            Self::Usage => 0,
            Self::Denied => 1,
            Self::NeedsUser => 2,
            Self::Unavailable => 3,
            Self::Error => 4,
            Self::NotFound => 5,
            Self::Child(_) => 6,
            Self::Done => 7,
        }
    }
}

/// Orders by precedence: the code that applies first is the least.
impl Ord for Exit {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |exit: &Self| (exit.precedence(), exit.code());
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Exit {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_exit_is_the_one_with_the_highest_precedence() {
        let all = [
            Exit::NotFound,
            Exit::Error,
            Exit::Unavailable,
            Exit::NeedsUser,
            Exit::Denied,
            Exit::Usage,
        ];
        for (index, exit) in all.iter().enumerate() {
            assert_eq!(all[..=index].iter().min(), Some(exit));
        }
        let mut sorted = all;
        sorted.sort();
        assert_eq!(sorted.map(Exit::code), [2, 4, 6, 5, 1, 3]);
    }
}
