//! The exit codes that scripts depend on.

use std::cmp::Ordering;
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
    /// The daemon or a provider is not available; what is certain was printed, unless one secret was asked for: 5.
    Unavailable,
    /// A store is locked or not logged in, or the user is needed: 6.
    NeedsUser,
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
            Self::NeedsUser => 6,
            Self::Child(code) => code,
        }
    }
}

impl Exit {
    /// The place in the order in which codes apply if several errors occurred: 2, 4, 6, 5, 1, 3.
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

/// The code that applies before another is less.
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
    fn of_several_errors_the_code_that_applies_first_wins() {
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
