//! Two patterns and an id, a line each: parsing keeps the text, matching follows its definition,
//! and overlap, covering and intersection agree with it.
#![no_main]

use keyway_secrets::{Id, Pattern};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let mut lines = input.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (one, other, id) = (next(), next(), next());
    let patterns = (parse(one), parse(other));
    let id = parse_id(id);
    if let (Some(one), Some(other)) = &patterns {
        check_pair(one, other, id.as_ref());
    }
});

fn parse(text: &str) -> Option<Pattern> {
    let pattern: Pattern = text.parse().ok()?;
    assert_eq!(pattern.as_str(), text);
    assert_eq!(pattern.components().collect::<Vec<_>>().join("/"), text);
    assert!(pattern.covers(&pattern) && pattern.overlaps(&pattern));
    if let Some(id) = pattern.as_id() {
        assert_eq!(id.as_str(), text);
        assert!(pattern.matches(&id));
    }
    Some(pattern)
}

fn parse_id(text: &str) -> Option<Id> {
    let id: Id = text.parse().ok()?;
    assert_eq!(id.as_str(), text);
    assert!(Pattern::everything().matches(&id));
    let literal = Pattern::from(id.clone());
    assert_eq!(literal.as_id().as_ref(), Some(&id));
    Some(id)
}

fn check_pair(one: &Pattern, other: &Pattern, id: Option<&Id>) {
    let overlaps = one.overlaps(other);
    assert_eq!(overlaps, other.overlaps(one));
    let intersection = one.intersection(other);
    if let Some(shared) = &intersection {
        assert!(overlaps);
        assert!(one.covers(shared) && other.covers(shared));
    }
    if one.covers(other) {
        assert!(overlaps);
    }
    let Some(id) = id else { return };
    let matching = [one, other].map(|pattern| {
        let matches = pattern.matches(id);
        assert_eq!(matches, matches_by_definition(pattern, id));
        matches
    });
    assert!(overlaps || matching != [true, true]);
    assert!(!one.covers(other) || matching != [false, true]);
    if let Some(shared) = &intersection {
        assert_eq!(shared.matches(id), matching == [true, true]);
    }
}

/// `*` is one component, `**` any number of them, anything else itself. Row by row, which pattern
/// components may come next after so many of the id.
fn matches_by_definition(pattern: &Pattern, id: &Id) -> bool {
    let parts: Vec<&str> = pattern.components().collect();
    let mut reached = vec![false; parts.len() + 1];
    reached[0] = true;
    let skip = |reached: &mut Vec<bool>| {
        for (index, part) in parts.iter().enumerate() {
            reached[index + 1] |= *part == "**" && reached[index];
        }
    };
    skip(&mut reached);
    for component in id.components() {
        let mut after = vec![false; parts.len() + 1];
        for (index, part) in parts
            .iter()
            .enumerate()
            .filter(|(index, _)| reached[*index])
        {
            match *part {
                "**" => after[index] = true,
                "*" => after[index + 1] = true,
                part => after[index + 1] |= part == component,
            }
        }
        reached = after;
        skip(&mut reached);
    }
    reached[parts.len()]
}
