//! What happens to each value of each file: which are moved, under which id, and why the others stay.

use std::collections::BTreeMap;

use keyway_plugin_file::Expected;
use keyway_secrets::{Id, SecretValue};
use serde::Serialize;

use super::classify::{self, Verdict, classify, token_kind};
use super::formats::{Field, Note, Role};
use super::ids;
use crate::failure::Failure;

/// Where values are stored and read back.
pub(super) trait Vault {
    /// Returns the current value of a secret.
    fn current(&self, id: &Id) -> Result<Option<SecretValue>, Failure>;

    /// Stores a value as the new current version of a secret, if its current version is the expected one.
    fn store(&self, id: &Id, value: &SecretValue, expected: &Expected) -> Result<(), Failure>;
}

/// The values of one file.
#[derive(Debug)]
pub(super) struct FilePlan {
    pub(super) lines: Vec<Line>,
    pub(super) notes: Vec<Note>,
}

/// One value.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) field: Field,
    /// Whether the value was taken for a secret.
    pub(super) is_secret: bool,
    /// The reason for that.
    pub(super) reason: String,
    pub(super) choice: Choice,
}

/// What happens to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The value stays in the file.
    Leave,
    /// The value is moved to the store.
    Move(Id, Stored),
}

/// What the store has under the id of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stored {
    /// Nothing.
    Nothing,
    /// The same value, which needs no write.
    SameValue,
    /// Another value, so this one stays in the file.
    OtherValue,
    /// Another value, which the user wants to replace by a new version.
    Replaced,
    /// The id is reserved, so the value stays in the file.
    Reserved,
}

impl Line {
    /// Returns the id if the value is moved.
    pub(super) fn destination(&self) -> Option<&Id> {
        match &self.choice {
            Choice::Move(id, Stored::Nothing | Stored::SameValue | Stored::Replaced) => Some(id),
            Choice::Move(_, Stored::OtherValue | Stored::Reserved) | Choice::Leave => None,
        }
    }

    /// Returns `true` if the value should be moved and cannot.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self.choice, Choice::Move(..)) && self.destination().is_none()
    }
}

impl FilePlan {
    /// Returns how many values are moved.
    pub(super) fn n_moved(&self) -> usize {
        self.lines
            .iter()
            .filter(|line| line.destination().is_some())
            .count()
    }

    /// Returns how many values were taken for secrets.
    pub(super) fn n_secrets(&self) -> usize {
        self.lines.iter().filter(|line| line.is_secret).count()
    }
}

/// Classifies the values of a file. All of them stay in it so far.
pub(super) fn classify_fields(fields: Vec<Field>, notes: Vec<Note>) -> FilePlan {
    let lines = fields.into_iter().map(|field| {
        let value = field.value.expose();
        let verdict = match field.role {
            Role::Expanded => Verdict::Setting("refers to other variables"),
            _ if field.id.is_some() && !classify::is_reference(value) => {
                Verdict::Secret("written by keyway export".into())
            }
            Role::Secret(description) => match classify(&field.key, value) {
                Verdict::Setting(reason) if classify::is_certain_setting(value) => {
                    Verdict::Setting(reason)
                }
                _ => Verdict::Secret(token_kind(value).unwrap_or(description).into()),
            },
            Role::Unknown => classify(&field.key, value),
        };
        let (is_secret, reason) = match verdict {
            Verdict::Secret(reason) => (true, reason.into_owned()),
            Verdict::Setting(reason) => (false, reason.to_owned()),
        };
        Line {
            field,
            is_secret,
            reason,
            choice: Choice::Leave,
        }
    });
    FilePlan {
        lines: lines.collect(),
        notes,
    }
}

/// The ids that an import uses, so that two values never share one.
#[derive(Debug, Default)]
pub(super) struct Ids {
    used: BTreeMap<Id, SecretValue>,
}

impl Ids {
    /// Returns the ids of these values.
    pub(super) fn of<'a>(lines: impl IntoIterator<Item = &'a Line>) -> Self {
        let used = lines.into_iter().filter_map(|line| match &line.choice {
            Choice::Move(id, _) => Some((id.clone(), line.field.value.clone())),
            Choice::Leave => None,
        });
        Self {
            used: used.collect(),
        }
    }

    /// Proposes an id for each secret of a file. `names` are the first components.
    ///
    /// # Errors
    ///
    /// Returns the [`Failure`] of a store that cannot be read.
    pub(super) fn assign(
        &mut self,
        plan: &mut FilePlan,
        names: &[String],
        vault: &impl Vault,
    ) -> Result<(), Failure> {
        for line in plan.lines.iter_mut().filter(|line| line.is_secret) {
            self.assign_line(line, names, vault)?;
        }
        Ok(())
    }

    /// Proposes an id for one value, which is then moved if the store allows it.
    pub(super) fn assign_line(
        &mut self,
        line: &mut Line,
        names: &[String],
        vault: &impl Vault,
    ) -> Result<(), Failure> {
        let path = names.iter().chain(&line.field.path).map(String::as_str);
        let proposed = line.field.id.clone().unwrap_or_else(|| ids::propose(path));
        let candidates =
            std::iter::once(proposed.clone()).chain((2..).map(|n| ids::numbered(&proposed, n)));
        for id in candidates {
            if self.is_free_for(&id, &line.field.value) {
                return self.choose(line, id, vault);
            }
        }
        Ok(())
    }

    /// Moves a value to this id, if the store allows it.
    pub(super) fn choose(
        &mut self,
        line: &mut Line,
        id: Id,
        vault: &impl Vault,
    ) -> Result<(), Failure> {
        let stored = match vault.current(&id)? {
            _ if keyway_runtime::is_reserved(&id) => Stored::Reserved,
            None => Stored::Nothing,
            Some(value) if value == line.field.value => Stored::SameValue,
            Some(_) => Stored::OtherValue,
        };
        self.used.insert(id.clone(), line.field.value.clone());
        line.choice = Choice::Move(id, stored);
        Ok(())
    }

    /// Returns `false` if another value of this import has the id.
    pub(super) fn is_free_for(&self, id: &Id, value: &SecretValue) -> bool {
        self.used.get(id).is_none_or(|used| used == value)
    }
}
