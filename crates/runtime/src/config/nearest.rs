//! Finds the known name nearest to a misspelt one.

/// Returns the known name nearest to `name`: the one with the fewest insertions, deletions, replacements and swaps of
/// neighbours, the first among equals. `None` if every known name differs in more than half of its letters.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distances = known
        .into_iter()
        .map(|known| (distance(name, known), known));
    let (distance, nearest) = distances.min_by_key(|(distance, _)| *distance)?;
    let longer = name.chars().count().max(nearest.chars().count());
    (distance * 2 <= longer).then_some(nearest)
}

/// Returns the edit distance of two texts in which neighbours may be swapped (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // Rows of the table of distances between beginnings of `a` and `b`: the one before the last, the last, the current.
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        (before, last) = (last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_edits_and_swaps() {
        for (a, b, expected) in [
            ("", "", 0),
            ("vault", "vault", 0),
            ("valut", "vault", 1),
            ("vualt", "vault", 1),
            ("lisen", "listen", 1),
            ("listens", "listen", 1),
            ("vauld", "vault", 1),
            ("", "abc", 3),
            ("pass", "vault", 4),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn the_nearest_name_is_found_unless_every_name_is_far() {
        let known = ["env", "file", "pass", "vault"];
        assert_eq!(nearest("valut", known), Some("vault"));
        assert_eq!(nearest("fiel", known), Some("file"));
        assert_eq!(nearest("onepassword", known), None);
        assert_eq!(nearest("vault", []), None);
    }
}
