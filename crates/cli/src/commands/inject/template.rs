//! Text with references, by line.

use std::ops::Range;

use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::names::SCHEME;
use crate::output;
use crate::reference::resolve::{Values, Wanted, value};
use crate::reference::{self, Found, Target, lookalike};

/// A text and its references, all of them valid.
pub(super) struct Template<'a> {
    text: &'a [u8],
    places: Vec<Place>,
}

/// A reference of a template.
struct Place {
    range: Range<usize>,
    /// Its line, counted from one.
    line: usize,
    target: Target,
}

impl<'a> Template<'a> {
    /// Finds the references.
    ///
    /// # Errors
    ///
    /// Returns a [`Failure`] with the line of every invalid reference.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, Failure> {
        let mut places = Vec::new();
        let mut invalid = Vec::new();
        let (mut line, mut counted) = (1, 0);
        for Found { range, target } in reference::scan(text) {
            let passed = &text[counted..range.start];
            line += passed.iter().filter(|byte| **byte == b'\n').count();
            counted = range.start;
            match target {
                Ok(target) => places.push(Place {
                    range,
                    line,
                    target,
                }),
                Err(error) => invalid.push(format!("line {line}: {error}")),
            }
        }
        if invalid.is_empty() {
            return Ok(Self { text, places });
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
        for place in &self.places {
            if let Target::Secret(reference) = &place.target {
                wanted.add(format!("line {}", place.line), reference);
            }
        }
        wanted
    }

    /// Returns the text with all references replaced. `values` must have a value for each of them.
    pub(super) fn render(&self, values: &Values) -> Zeroizing<Vec<u8>> {
        let replacement = |place: &Place| match &place.target {
            Target::Scheme => SCHEME.as_bytes(),
            Target::Secret(reference) => value(values, reference),
        };
        let replaced = self.places.iter().map(|place| replacement(place).len());
        // A buffer that grows would leave copies of the values.
        let capacity = self.text.len() + replaced.sum::<usize>();
        let mut result = Zeroizing::new(Vec::with_capacity(capacity));
        let mut end = 0;
        for place in &self.places {
            result.extend_from_slice(&self.text[end..place.range.start]);
            result.extend_from_slice(replacement(place));
            end = place.range.end;
        }
        result.extend_from_slice(&self.text[end..]);
        result
    }
}
