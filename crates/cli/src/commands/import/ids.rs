//! The ids that are proposed for values.

use keyway_secrets::Id;

/// Returns the id of these names: each one becomes a component.
pub(super) fn propose<'a>(names: impl IntoIterator<Item = &'a str>) -> Id {
    let components: Vec<String> = names.into_iter().map(component).collect();
    let id = components.join("/").parse();
    id.unwrap_or_else(|_| "imported".parse().expect("a valid id"))
}

/// Returns the id with a number behind it, for the second value and later ones of one name.
pub(super) fn numbered(id: &Id, number: usize) -> Id {
    let id = format!("{id}-{number}").parse();
    id.unwrap_or_else(|_| format!("imported-{number}").parse().expect("a valid id"))
}

/// Returns a component in lower case with `-` between words: `STRIPE_KEY` and `stripeKey` become `stripe-key`.
fn component(name: &str) -> String {
    /// Enough for the names of variables, hosts and users. An id of a few of them stays far below its limit.
    const MAX_LEN: usize = 100;
    let mut component = String::new();
    let mut previous = ' ';
    for character in name.chars() {
        if character.is_ascii_uppercase() && previous.is_ascii_lowercase() {
            component.push('-');
        }
        match character {
            'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | ':' => {
                component.push(character.to_ascii_lowercase())
            }
            _ if component.ends_with('-') => {}
            _ => component.push('-'),
        }
        previous = character;
    }
    component.truncate(MAX_LEN);
    match component.trim_matches('-') {
        "" => "unnamed".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_become_lower_case_components() {
        let id = |names: &[&str]| propose(names.iter().copied()).to_string();
        assert_eq!(id(&["shop", "STRIPE_KEY"]), "shop/stripe-key");
        assert_eq!(id(&["My App", "_authToken"]), "my-app/auth-token");
        assert_eq!(
            id(&["git", "github.com:8443", "ann@example.com"]),
            "git/github.com:8443/ann-example.com"
        );
        assert_eq!(id(&["", "\u{fc}"]), "unnamed/unnamed");
        assert_eq!(numbered(&propose(["a"]), 2).to_string(), "a-2");
    }

    proptest! {
        #[test]
        fn every_name_becomes_a_valid_id(names in proptest::collection::vec(".{0,200}", 1..6)) {
            let id = propose(names.iter().map(String::as_str));
            prop_assert_eq!(id.components().count(), names.len());
        }
    }
}
