//! Text with references, by line.

use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::names::SCHEME;
use crate::output;
use crate::reference::resolve::{Values, Wanted};
use crate::reference::{self, Found, Target, lookalike};

/// A text and its references, all of them valid.
pub(super) struct Template<'a> {
    text: &'a [u8],
    found: Vec<(Found, Target)>,
}

impl<'a> Template<'a> {
    /// Finds the references.
    ///
    /// # Errors
    ///
    /// Returns a [`Failure`] with the line of every invalid reference.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, Failure> {
        let mut found = Vec::new();
        let mut invalid = Vec::new();
        for place in reference::scan(text) {
            match place.target.clone() {
                Ok(target) => found.push((place, target)),
                Err(error) => {
                    let line = line(text, place.range.start);
                    invalid.push(format!("line {line}: {error}"));
                }
            }
        }
        if invalid.is_empty() {
            return Ok(Self { text, found });
        }
        let failure = Failure::usage(
            "not every reference of the template names a secret",
            "Nothing was written; write {{se://ID}} if text follows that an id could have, and {{se://}} for the text itself",
        );
        Err(failure.with_details(invalid))
    }

    /// Notes the lines that have something like a reference.
    pub(super) fn note_lookalikes(&self) {
        for (index, line) in self.text.split(|byte| *byte == b'\n').enumerate() {
            if let Some(found) = lookalike::find(line) {
                output::note(format_args!("line {}: {found}", index + 1));
            }
        }
    }

    /// Returns the references, with their lines as places.
    pub(super) fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::default();
        for (place, target) in &self.found {
            if let Target::Secret(reference) = target {
                let line = line(self.text, place.range.start);
                wanted.add(format!("line {line}"), reference);
            }
        }
        wanted
    }

    /// Returns the text with all references replaced. `values` must have a value for each of them.
    pub(super) fn render(&self, values: &Values) -> Zeroizing<Vec<u8>> {
        let replacement = |target: &Target| match target {
            Target::Scheme => SCHEME.as_bytes(),
            Target::Secret(reference) => values
                .get(&reference.pattern)
                .expect("every reference was resolved")
                .expose(),
        };
        let replaced = self
            .found
            .iter()
            .map(|(_, target)| replacement(target).len());
        // A buffer that grows would leave copies of the values.
        let capacity = self.text.len() + replaced.sum::<usize>();
        let mut result = Zeroizing::new(Vec::with_capacity(capacity));
        let mut end = 0;
        for (place, target) in &self.found {
            result.extend_from_slice(&self.text[end..place.range.start]);
            result.extend_from_slice(replacement(target));
            end = place.range.end;
        }
        result.extend_from_slice(&self.text[end..]);
        result
    }
}

/// Returns the line of an offset, counted from one.
fn line(text: &[u8], offset: usize) -> usize {
    1 + text[..offset].iter().filter(|byte| **byte == b'\n').count()
}
