//! A TOML text as a tree in which every key and value knows its line, and every error names it.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::ConfigError;
use super::nearest::nearest;

/// The text of a configuration file and the path for messages.
#[derive(Clone, Copy)]
pub(super) struct Document<'a> {
    pub(super) text: &'a str,
    pub(super) path: &'a Path,
}

/// A table of which only known keys are accepted.
pub(super) struct Table<'a> {
    document: Document<'a>,
    /// The key of the table itself; empty for the whole document.
    key: String,
    offset: usize,
    entries: &'a DeTable<'a>,
}

/// One value.
pub(super) struct Value<'a> {
    document: Document<'a>,
    key: String,
    value: &'a DeValue<'a>,
    offset: usize,
}

impl<'a> Document<'a> {
    /// Parses the text. [`table`](Self::table) reads the tree.
    pub(super) fn parse(&self) -> Result<Spanned<DeTable<'a>>, ConfigError> {
        DeTable::parse(self.text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            let line = self.line(offset);
            self.invalid(line, key_at(self.text, line), error.message().to_owned())
        })
    }

    /// Returns the whole document as a table.
    pub(super) fn table(self, tree: &'a Spanned<DeTable<'a>>) -> Table<'a> {
        Table {
            document: self,
            key: String::new(),
            offset: 0,
            entries: tree.get_ref(),
        }
    }

    /// Returns the line of every key that is set, by the key with the tables that it is in.
    pub(super) fn lines(self, tree: &Spanned<DeTable<'_>>) -> BTreeMap<String, usize> {
        let mut lines = BTreeMap::new();
        self.collect_lines("", tree.get_ref(), &mut lines);
        lines
    }

    fn collect_lines(self, prefix: &str, table: &DeTable<'_>, lines: &mut BTreeMap<String, usize>) {
        for (name, value) in table {
            let key = joined(prefix, name.get_ref());
            lines.insert(key.clone(), self.line(name.span().start));
            if let DeValue::Table(table) = value.get_ref() {
                self.collect_lines(&key, table, lines);
            }
        }
    }

    fn line(&self, offset: usize) -> usize {
        let before = self.text.get(..offset.min(self.text.len()));
        before.unwrap_or_default().matches('\n').count() + 1
    }

    fn invalid(&self, line: usize, key: Option<String>, message: String) -> ConfigError {
        ConfigError::Invalid {
            path: self.path.into(),
            line,
            key,
            message,
        }
    }
}

impl<'a> Table<'a> {
    /// Returns the table if it has no other keys than these.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::Invalid`] with the first unknown key and the nearest known one.
    pub(super) fn with_keys(self, known: &[&str]) -> Result<Self, ConfigError> {
        let unknown = self
            .entries
            .iter()
            .map(|(name, _)| name)
            .filter(|name| !known.contains(&name.get_ref().as_ref()))
            .min_by_key(|name| name.span().start);
        let Some(name) = unknown else {
            return Ok(self);
        };
        let message = match nearest(name.get_ref(), known.iter().copied()) {
            Some(nearest) => format!("unknown key; the nearest known key is `{nearest}`"),
            None => format!("unknown key; the known keys here are {}", known.join(", ")),
        };
        let key = joined(&self.key, name.get_ref());
        let line = self.document.line(name.span().start);
        Err(self.document.invalid(line, Some(key), message))
    }

    /// Returns the value of `name`, if it is set.
    pub(super) fn get(&self, name: &str) -> Option<Value<'a>> {
        let (name, value) = self.entries.get_key_value(name)?;
        Some(self.value(name, value))
    }

    /// Returns every key with its value, in the order of names.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        let entries = self.entries.iter();
        entries.map(|(name, value)| (name.get_ref().as_ref(), self.value(name, value)))
    }

    /// Returns an error about the table as a whole.
    pub(super) fn error(&self, message: String) -> ConfigError {
        let line = self.document.line(self.offset);
        self.document.invalid(line, Some(self.key.clone()), message)
    }

    fn value(
        &self,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Value<'a> {
        Value {
            document: self.document,
            key: joined(&self.key, name.get_ref()),
            value: value.get_ref(),
            offset: name.span().start,
        }
    }
}

impl<'a> Value<'a> {
    /// Returns an error about this value.
    pub(super) fn error(&self, message: String) -> ConfigError {
        let line = self.document.line(self.offset);
        self.document.invalid(line, Some(self.key.clone()), message)
    }

    fn expected(&self, what: &str) -> ConfigError {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.error(format!("expected {what}, found {found}"))
    }

    /// Returns the text of a string.
    pub(super) fn string(&self) -> Result<&'a str, ConfigError> {
        self.value.as_str().ok_or_else(|| self.expected("a string"))
    }

    /// Converts the text of a string by a function; `what` describes it in the error about another type.
    pub(super) fn read<T, E: std::fmt::Display>(
        &self,
        what: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ConfigError> {
        let text = self.value.as_str().ok_or_else(|| self.expected(what))?;
        read(text).map_err(|error| self.error(error.to_string()))
    }

    /// Returns a truth value.
    pub(super) fn boolean(&self) -> Result<bool, ConfigError> {
        self.value
            .as_bool()
            .ok_or_else(|| self.expected("true or false"))
    }

    /// Returns whether it is a truth value, and which.
    pub(super) fn as_boolean(&self) -> Option<bool> {
        self.value.as_bool()
    }

    /// Returns whether it is a string.
    pub(super) fn is_string(&self) -> bool {
        self.value.is_str()
    }

    /// Returns an integer of at least `min` and at most `max`.
    pub(super) fn integer<T>(&self, min: T, max: T) -> Result<T, ConfigError>
    where
        T: TryFrom<i128> + Into<i128> + Copy,
    {
        let (min, max): (i128, i128) = (min.into(), max.into());
        let integer = self
            .value
            .as_integer()
            .ok_or_else(|| self.expected("an integer"))?;
        i128::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .filter(|value| (min..=max).contains(value))
            .and_then(|value| T::try_from(value).ok())
            .ok_or_else(|| self.error(format!("expected an integer from {min} to {max}")))
    }

    /// Returns the values of a list; `what` describes the list.
    pub(super) fn list(&self, what: &str) -> Result<Vec<Self>, ConfigError> {
        let array = self.value.as_array().ok_or_else(|| self.expected(what))?;
        let values = array.iter().map(|value| Self {
            document: self.document,
            key: self.key.clone(),
            value: value.get_ref(),
            offset: value.span().start,
        });
        Ok(values.collect())
    }

    /// Returns a table.
    pub(super) fn table(self) -> Result<Table<'a>, ConfigError> {
        let DeValue::Table(entries) = self.value else {
            return Err(self.expected(&format!("a table (`[{}]`)", self.key)));
        };
        Ok(Table {
            document: self.document,
            key: self.key,
            offset: self.offset,
            entries,
        })
    }
}

/// Returns the key `name` in the table `prefix`, as it is written in TOML.
pub(super) fn joined(prefix: &str, name: &str) -> String {
    let is_bare = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let name = if is_bare {
        name.to_owned()
    } else {
        // Rust's escapes of unprintable characters are not those of TOML, but read the same.
        format!("{name:?}")
    };
    if prefix.is_empty() {
        name
    } else {
        format!("{prefix}.{name}")
    }
}

/// Returns the key that is set in `line` of a text that is not TOML, with the header of the table that it is in.
fn key_at(text: &str, line: usize) -> Option<String> {
    let lines: Vec<&str> = text.lines().take(line).map(str::trim).collect();
    let header = |line: &&&str| line.starts_with('[') && !line.contains('=');
    let table = lines
        .iter()
        .rev()
        .find(header)
        .and_then(|line| line.trim_start_matches('[').split(']').next());
    let assignment = lines.last().filter(|line| !line.starts_with('['));
    let key = assignment
        .and_then(|line| line.split_once('='))
        .map(|(key, _)| key);
    let parts: Vec<&str> = [table, key].into_iter().flatten().map(str::trim).collect();
    (!parts.is_empty()).then(|| parts.join("."))
}
