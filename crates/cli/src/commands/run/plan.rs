//! The environment of the child: its variables, their origins, and which are references to secrets.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use rustix::param::page_size;
use zeroize::Zeroizing;

use super::value::{self, Expansion, Part, Remark, Run};
use crate::env_file::{self, Entry, Oddity};
use crate::failure::Failure;
use crate::input::{self, ReadFileError, STDIN};
use crate::reference::{InvalidReference, Reference};

/// The variables of the child's environment.
#[derive(Debug, Default)]
pub(super) struct Plan {
    variables: Vec<Variable>,
}

/// One variable.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: OsString,
    origin: Origin,
    value: Result<Vec<Part>, InvalidReference>,
    remarks: Vec<Remark>,
}

impl Variable {
    /// Returns the parts of the value.
    pub(super) fn parts(&self) -> &[Part] {
        self.value.as_deref().unwrap_or_default()
    }

    /// Returns the references in the value.
    pub(super) fn references(&self) -> impl Iterator<Item = &Reference> {
        self.parts().iter().filter_map(|part| match part {
            Part::Reference(reference) => Some(reference),
            Part::Literal(_) => None,
        })
    }
}

/// The origin of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The environment of this process.
    Environment,
    /// A line of an env file with this name.
    File(String, usize),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("environment"),
            Self::File(name, line) => write!(f, "{name}:{line}"),
        }
    }
}

/// Returns the largest length of `NAME=value` with the zero byte at its end, which the kernel fixes at 32 pages.
pub(super) fn max_variable_len() -> usize {
    32 * page_size()
}

impl Plan {
    /// Builds the plan from `environment` and then the files: a later variable replaces an earlier one of the same name. The
    /// variables `left_out` get their values elsewhere.
    pub(super) fn new(
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        files: &[impl AsRef<Path>],
        left_out: &[&str],
    ) -> Result<Self, Failure> {
        let mut plan = Self::default();
        for (name, value) in environment {
            let value = Zeroizing::new(value.into_vec());
            let value = match is_shell_function(&name) {
                true => Ok((vec![Part::Literal(value)], Vec::new())),
                false => value::parse(vec![Run::Text(value)]),
            };
            plan.insert(name, Origin::Environment, value);
        }
        let files = files.iter().map(AsRef::as_ref);
        let stdin = files.clone().filter(|path| *path == Path::new(STDIN));
        if stdin.count() > 1 {
            return Err(Failure::usage(
                "`--env-file -` is given twice, and stdin can be read once",
                "Nothing was started; write the second file to a path",
            ));
        }
        for path in files {
            plan.add_file(path)?;
        }
        let is_left_out = |variable: &Variable| left_out.iter().any(|name| variable.name == *name);
        plan.variables.retain(|variable| !is_left_out(variable));
        plan.reject_invalid_references()?;
        Ok(plan)
    }

    fn add_file(&mut self, path: &Path) -> Result<(), Failure> {
        let label = input::label(path);
        let text = input::read_file(path).map_err(|error| cannot_read(&error))?;
        let entries = env_file::parse(text.expose()).map_err(|error| {
            Failure::usage(
                format_args!("line {} of {label} is wrong: {}", error.line, error.kind),
                format_args!("Nothing was started; {}", error.kind.advice()),
            )
        })?;
        entries
            .into_iter()
            .try_for_each(|entry| self.add(entry, &label))
    }

    /// Adds a line of an env file.
    fn add(&mut self, entry: Entry, label: &str) -> Result<(), Failure> {
        let limit = max_variable_len();
        let expansion = Expansion::new(limit, |name| self.get(name).map(Variable::parts));
        let (runs, unset) = expansion.expand(&entry.value).map_err(|_| {
            Failure::usage(
                format_args!(
                    "line {} of {label} is wrong: the value of {} would be longer than {limit} bytes, the limit of a variable",
                    entry.line,
                    entry.name.display()
                ),
                "Nothing was started; write a shorter value, or give the program a file",
            )
        })?;
        let value = value::parse(runs).map(|(parts, mut remarks)| {
            let oddities = entry.oddities.into_iter().filter(|oddity| match oddity {
                Oddity::Dollar(name) => self.get(name).is_some(),
                _ => true,
            });
            remarks.extend(oddities.map(Remark::Odd));
            remarks.extend(unset.into_iter().map(Remark::Unset));
            (parts, remarks)
        });
        self.insert(
            entry.name,
            Origin::File(label.to_owned(), entry.line),
            value,
        );
        Ok(())
    }

    fn get(&self, name: &str) -> Option<&Variable> {
        self.variables.iter().find(|variable| variable.name == name)
    }

    fn insert(
        &mut self,
        name: OsString,
        origin: Origin,
        value: Result<(Vec<Part>, Vec<Remark>), InvalidReference>,
    ) {
        let (value, remarks) = match value {
            Ok((parts, remarks)) => (Ok(parts), remarks),
            Err(error) => (Err(error), Vec::new()),
        };
        let variable = Variable {
            name,
            origin,
            value,
            remarks,
        };
        let known = self.variables.iter_mut();
        match known.into_iter().find(|known| known.name == variable.name) {
            Some(known) => *known = variable,
            None => self.variables.push(variable),
        }
    }

    /// Returns a failure if there is an invalid reference, which the child would use as a value.
    fn reject_invalid_references(&self) -> Result<(), Failure> {
        let invalid = self.variables.iter().filter_map(|variable| {
            let error = variable.value.as_ref().err()?;
            let name = variable.name.display();
            Some(format!("{name} ({}): {error}", variable.origin))
        });
        let invalid: Vec<String> = invalid.collect();
        if invalid.is_empty() {
            return Ok(());
        }
        let failure = Failure::usage(
            "not every reference names a secret",
            "Nothing was started; write se:// and the id of one secret, as in se://web/token, and {{se://web/token}} if text follows that an id could have",
        );
        Err(failure.with_details(invalid))
    }

    /// Returns all variables.
    pub(super) fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// Returns the references of all variables, with the variable and the origin of each.
    pub(super) fn references(&self) -> impl Iterator<Item = (&Variable, &Reference, &Origin)> {
        self.variables.iter().flat_map(|variable| {
            let references = variable.references();
            references.map(move |reference| (variable, reference, &variable.origin))
        })
    }

    /// Returns what the user may not expect, as sentences without the full stop.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        self.variables.iter().flat_map(|variable| {
            let remarks = variable.remarks.iter();
            remarks.map(|remark| {
                format!(
                    "{} ({}): {remark}",
                    variable.name.display(),
                    variable.origin
                )
            })
        })
    }
}

fn cannot_read(error: &ReadFileError) -> Failure {
    // A path that does not exist may be a secret in the wrong place.
    let file = match &error.label {
        Some(label) => format!("the env file {label}"),
        None => "an env file".to_owned(),
    };
    Failure::usage(
        format_args!("{file} cannot be read: {}", error.cause),
        "Nothing was started; give each --env-file a file that exists and that you may read",
    )
}

/// Returns `true` for a function that bash exports: a program, whose references are those of its own commands.
fn is_shell_function(name: &OsString) -> bool {
    let name = name.as_bytes();
    name.starts_with(b"BASH_FUNC_") && name.ends_with(b"%%")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

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
            &[],
        )
        .unwrap();
        let names: Vec<_> = plan.variables().iter().map(|v| v.name.clone()).collect();
        assert_eq!(names, ["A", "B", "C"]);
        assert!(
            matches!(plan.variables()[0].parts(), [Part::Literal(bytes)] if **bytes == b"\xff")
        );
        let references: Vec<_> = plan
            .references()
            .map(|(variable, reference, origin)| {
                let pattern = reference.pattern.to_string();
                (variable.name.clone(), pattern, origin.clone())
            })
            .collect();
        let expected = (
            "B".into(),
            "db/password".to_owned(),
            Origin::File(path.display().to_string(), 1),
        );
        assert_eq!(references, [expected]);
    }

    #[test]
    fn debug_shows_no_value() {
        let plan = plan(&[("A", b"not-a-real-token")]).unwrap();
        let text = format!("{plan:?}");
        assert!(text.contains("Literal(16 bytes)"), "{text}");
        assert!(!text.contains("real"), "{text}");
        assert!(!text.contains(&format!("{:?}", b"real")), "{text}");
    }

    fn plan(pairs: &[(&str, &[u8])]) -> Result<Plan, Failure> {
        Plan::new(environment(pairs), &[] as &[&Path], &[])
    }

    #[test]
    fn an_invalid_reference_is_an_error_without_its_text() {
        let wrong: [(&str, &[u8]); 5] = [
            ("A", b"se:///hunter2"),
            ("B", b"se://"),
            ("C", b"{{se://hunter2 hunter2}}"),
            ("D", b"x se://a/*b hunter2"),
            ("E", b"database://a"),
        ];
        let text = plan(&wrong).unwrap_err().to_string();
        assert!(!text.contains("hunter2"), "{text}");
        for name in ["A", "B", "C", "D"] {
            assert!(text.contains(&format!("{name} (environment): ")), "{text}");
        }
        assert!(!text.contains("E ("), "{text}");
    }

    #[test]
    fn a_replaced_variable_is_neither_invalid_nor_noted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.env");
        fs::write(&path, "A=1\nB=2\n").unwrap();
        let pairs: [(&str, &[u8]); 2] = [("A", b"se://"), ("B", b"op://v/i")];
        let replaced = Plan::new(environment(&pairs), &[path], &[]).unwrap();
        assert_eq!(replaced.notes().count(), 0);
        let left_out = Plan::new(environment(&pairs), &[] as &[&Path], &["A", "B"]).unwrap();
        assert_eq!(left_out.variables().len() + left_out.notes().count(), 0);
        assert_eq!(plan(&pairs[1..]).unwrap().notes().count(), 1);
    }

    #[test]
    fn an_exported_function_of_bash_is_not_a_value() {
        let body = b"() { T=se://a keyway run -- x; }";
        let plan = plan(&[("BASH_FUNC_f%%", body), ("F", body)]).unwrap();
        let names: Vec<_> = plan
            .references()
            .map(|(variable, ..)| &variable.name)
            .collect();
        assert_eq!(names, ["F"]);
    }
}
