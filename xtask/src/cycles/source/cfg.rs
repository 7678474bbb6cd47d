//! Which code only tests or fuzzing compile.

use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, Meta, Token};

/// Returns `true` if a `cfg` among `attributes` removes the code from every build but tests, documentation tests and fuzzing.
pub(super) fn is_for_tests_only(attributes: &[Attribute]) -> bool {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"))
        .filter_map(|attribute| attribute.parse_args::<Meta>().ok())
        .any(|predicate| value(&predicate) == Some(false))
}

/// Evaluates a predicate outside of tests; `None` if it depends on something else.
fn value(predicate: &Meta) -> Option<bool> {
    match predicate {
        Meta::Path(path) => ["test", "doctest", "fuzzing"]
            .iter()
            .any(|name| path.is_ident(name))
            .then_some(false),
        Meta::List(list) => {
            let parts = list
                .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
                .ok()?;
            let values: Vec<_> = parts.iter().map(value).collect();
            if list.path.is_ident("not") {
                values.first().copied().flatten().map(|value| !value)
            } else if list.path.is_ident("all") {
                combine(&values, false)
            } else if list.path.is_ident("any") {
                combine(&values, true)
            } else {
                None
            }
        }
        Meta::NameValue(_) => None,
    }
}

/// `all` is decided by one part that is `false`, `any` by one that is `true`.
fn combine(values: &[Option<bool>], decisive: bool) -> Option<bool> {
    if values.contains(&Some(decisive)) {
        Some(decisive)
    } else {
        values
            .iter()
            .all(|value| value.is_some())
            .then_some(!decisive)
    }
}

/// The attributes of an expression.
pub(super) fn attributes_of(expression: &Expr) -> &[Attribute] {
    macro_rules! of {
        ($($kind:ident)*) => {
            match expression {
                $(Expr::$kind(inner) => &inner.attrs,)*
                _ => &[],
            }
        };
    }
    of!(Array Assign Async Await Binary Block Break Call Cast Closure Const Continue Field ForLoop Group If Index Infer
        Let Lit Loop Macro Match MethodCall Paren Path Range RawAddr Reference Repeat Return Struct Try TryBlock Tuple
        Unary Unsafe While Yield)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(predicate: &str) -> bool {
        let item: syn::ItemFn =
            syn::parse_str(&format!("#[cfg({predicate})] fn f() {{}}")).expect("a function");
        is_for_tests_only(&item.attrs)
    }

    #[test]
    fn code_for_tests_alone_is_excluded() {
        for predicate in [
            "test",
            "fuzzing",
            "doctest",
            "any(test, fuzzing)",
            "all(test, feature = \"json\")",
            "all(unix, any(test, fuzzing))",
            "not(not(test))",
        ] {
            assert!(excluded(predicate), "{predicate}");
        }
    }

    #[test]
    fn code_of_some_other_build_counts() {
        for predicate in [
            "unix",
            "feature = \"json\"",
            "not(test)",
            "any(test, feature = \"json\")",
            "all(unix, not(test))",
            "not(all(test, unix))",
        ] {
            assert!(!excluded(predicate), "{predicate}");
        }
    }
}
