//! The names of variables for ids.

use keyway_secrets::{Id, Pattern};

/// Returns the number of components at the beginning of a pattern without wildcards. The names of variables leave them out.
pub(super) fn n_literal(pattern: &Pattern) -> usize {
    let components = pattern.as_str().split('/');
    components
        .take_while(|component| !component.contains('*'))
        .count()
}

/// Returns the name of the variable for an id without its first `n_skipped` components, of which the last one always stays:
/// `shop/stripe-key` becomes `SHOP_STRIPE_KEY`, or `STRIPE_KEY` without the first one.
pub(super) fn variable(id: &Id, n_skipped: usize) -> String {
    let n_skipped = n_skipped.min(id.components().count() - 1);
    let components: Vec<&str> = id.components().skip(n_skipped).collect();
    let mut name = String::new();
    for character in components.join("_").chars() {
        if name.is_empty() && character.is_ascii_digit() {
            name.push('_');
        }
        name.push(match character {
            c if c.is_ascii_alphanumeric() => c.to_ascii_uppercase(),
            _ => '_',
        });
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_leave_out_what_the_pattern_says() {
        let name = |pattern: &str, id: &str| {
            variable(&id.parse().unwrap(), n_literal(&pattern.parse().unwrap()))
        };
        assert_eq!(name("**", "shop/stripe-key"), "SHOP_STRIPE_KEY");
        assert_eq!(name("shop/**", "shop/stripe-key"), "STRIPE_KEY");
        assert_eq!(name("shop/**", "shop/api/docker.io:x"), "API_DOCKER_IO_X");
        assert_eq!(name("shop/stripe-key", "shop/stripe-key"), "STRIPE_KEY");
        assert_eq!(name("a/**", "a"), "A");
        assert_eq!(name("*/2fa", "shop/2fa"), "SHOP_2FA");
        assert_eq!(name("shop/*", "shop/2fa"), "_2FA");
    }
}
