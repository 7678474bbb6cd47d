//! The environment of the child: its variables, their origins, and which are references to secrets.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use keyway_secrets::{Id, ParseIdError};
use zeroize::Zeroizing;

use crate::env_file;
use crate::failure::Failure;

/// The scheme of a reference; the rest of the value is the id of the secret.
pub(super) const SCHEME: &[u8] = b"se://";

/// The variables of the child's environment.
#[derive(Debug, Default)]
pub(super) struct Plan {
    variables: Vec<Variable>,
}

/// One variable.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: OsString,
    pub(super) value: Value,
    origin: Origin,
}

/// The value of a variable.
pub(super) enum Value {
    /// Literal bytes.
    Literal(Zeroizing<Vec<u8>>),
    /// A reference to the secret with this id.
    Reference(Id),
    /// An invalid reference.
    InvalidReference(ParseIdError),
}

/// The origin of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The environment of this process.
    Environment,
    /// A line of an `--env-file`.
    File(PathBuf, usize),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("environment"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
        }
    }
}

impl fmt::Debug for Value {
    /// Prints the length of a literal value instead of the value, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(bytes) => write!(f, "Literal({} bytes)", bytes.len()),
            Self::Reference(id) => f.debug_tuple("Reference").field(id).finish(),
            Self::InvalidReference(error) => {
                f.debug_tuple("InvalidReference").field(error).finish()
            }
        }
    }
}

impl Value {
    fn from_bytes(bytes: Zeroizing<Vec<u8>>) -> Self {
        let Some(id) = bytes.strip_prefix(SCHEME) else {
            return Self::Literal(bytes);
        };
        // Bytes that are not UTF-8 become a character that is not valid in an id.
        match String::from_utf8_lossy(id).parse() {
            Ok(id) => Self::Reference(id),
            Err(error) => Self::InvalidReference(error),
        }
    }
}

impl Plan {
    /// Builds the plan from `environment` and then the files: a later variable replaces an earlier one of the same name.
    pub(super) fn new(
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        files: &[PathBuf],
    ) -> Result<Self, Failure> {
        let mut plan = Self::default();
        for (name, value) in environment {
            let value = Zeroizing::new(value.into_vec());
            plan.insert(name, value, Origin::Environment);
        }
        for path in files {
            plan.add_file(path)?;
        }
        plan.reject_invalid_references()?;
        Ok(plan)
    }

    fn add_file(&mut self, path: &Path) -> Result<(), Failure> {
        let text = fs::read(path).map_err(|error| {
            // A path that does not exist may be a secret in the wrong place.
            let file = match path.exists() {
                true => format!("the env file {}", path.display()),
                false => "an env file".to_owned(),
            };
            Failure::error(
                format_args!("{file} cannot be read: {error}"),
                "Nothing was started; give each --env-file a file that exists and that you may read",
            )
        })?;
        let text = Zeroizing::new(text);
        let entries = env_file::parse(&text).map_err(|error| {
            Failure::usage(
                format_args!("line {} of {} is wrong: {}", error.line, path.display(), error.kind),
                "Nothing was started; write NAME=value, with quotes around a value that holds spaces at its ends or several lines",
            )
        })?;
        for entry in entries {
            self.insert(
                entry.name,
                entry.value,
                Origin::File(path.to_owned(), entry.line),
            );
        }
        Ok(())
    }

    fn insert(&mut self, name: OsString, value: Zeroizing<Vec<u8>>, origin: Origin) {
        let variable = Variable {
            value: Value::from_bytes(value),
            name,
            origin,
        };
        let known = self.variables.iter_mut();
        match known.into_iter().find(|known| known.name == variable.name) {
            Some(known) => *known = variable,
            None => self.variables.push(variable),
        }
    }

    /// Returns a failure if there is an invalid reference, which the child would use as a value.
    fn reject_invalid_references(&self) -> Result<(), Failure> {
        let invalid = self
            .variables
            .iter()
            .filter_map(|variable| match &variable.value {
                Value::InvalidReference(error) => Some(format!(
                    "{} ({}): {error}",
                    variable.name.display(),
                    variable.origin
                )),
                _ => None,
            });
        let invalid: Vec<String> = invalid.collect();
        if invalid.is_empty() {
            return Ok(());
        }
        let failure = Failure::usage(
            "not every reference names a secret",
            "Nothing was started; write se:// and the id of one secret, as in se://web/token",
        );
        Err(failure.with_details(invalid))
    }

    /// Returns all variables.
    pub(super) fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// Returns the variables that are references, with the id and the origin of each.
    pub(super) fn references(&self) -> impl Iterator<Item = (&Variable, &Id, &Origin)> {
        self.variables
            .iter()
            .filter_map(|variable| match &variable.value {
                Value::Reference(id) => Some((variable, id, &variable.origin)),
                _ => None,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &[u8])]) -> Vec<(OsString, OsString)> {
        let pair =
            |(name, value): &(&str, &[u8])| (name.into(), OsString::from_vec(value.to_vec()));
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_file_overrides_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.env");
        fs::write(&path, "B=se://db/password\nC=3\n").unwrap();
        let plan = Plan::new(
            environment(&[("A", b"\xff"), ("B", b"se://old")]),
            std::slice::from_ref(&path),
        )
        .unwrap();
        let names: Vec<_> = plan.variables().iter().map(|v| v.name.clone()).collect();
        assert_eq!(names, ["A", "B", "C"]);
        assert!(matches!(&plan.variables()[0].value, Value::Literal(bytes) if **bytes == b"\xff"));
        let references: Vec<_> = plan
            .references()
            .map(|(variable, id, origin)| (variable.name.clone(), id.to_string(), origin.clone()))
            .collect();
        let expected = ("B".into(), "db/password".to_owned(), Origin::File(path, 1));
        assert_eq!(references, [expected]);
    }

    #[test]
    fn debug_shows_no_value() {
        let plan = Plan::new(environment(&[("A", b"not-a-real-token")]), &[]).unwrap();
        let text = format!("{plan:?}");
        assert!(text.contains("Literal(16 bytes)"), "{text}");
        assert!(!text.contains("real"), "{text}");
        assert!(!text.contains(&format!("{:?}", b"real")), "{text}");
    }

    #[test]
    fn an_invalid_reference_is_an_error_without_its_text() {
        let wrong = environment(&[
            ("A", b"se://user:hunter2@host"),
            ("B", b"se://"),
            ("C", b"se://a/*"),
            ("D", b"xse://a"),
        ]);
        let text = Plan::new(wrong, &[]).unwrap_err().to_string();
        assert!(!text.contains("hunter2"), "{text}");
        for name in ["A", "B", "C"] {
            assert!(text.contains(&format!("{name} (environment): ")), "{text}");
        }
        assert!(!text.contains("D ("), "{text}");
    }
}
