//! What an export wrote is imported again with equal ids and values.

use keyway_resolver::Envelope;
use proptest::prelude::*;

use super::*;
use crate::commands::export::{Format as Exported, write};

const IDS: [&str; 4] = ["shop/port", "shop/database-url", "shop/a.b", "other/2fa"];

/// Imports an export of these values, and returns what is stored then. `None` if the format cannot hold them.
fn restored(format: Exported, name: &str, values: &[Vec<u8>]) -> Option<BTreeMap<Id, SecretValue>> {
    let secrets = IDS
        .iter()
        .zip(values)
        .map(|(id, value)| Envelope::new(id.parse().unwrap(), value.clone()));
    let text = write(format, &secrets.collect::<Vec<_>>(), 0).ok()?;
    let project = Project::new("");
    fs::write(project.path(name), &*text).unwrap();
    let vault = MemoryVault::default();
    let batch = read(&[project.path(name)], &vault);
    assert!(batch.refused.is_empty());
    apply_only(&batch, &vault).unwrap();
    Some(vault.0.into_inner())
}

fn expected(values: &[Vec<u8>]) -> BTreeMap<Id, SecretValue> {
    let secrets = IDS
        .iter()
        .zip(values)
        .map(|(id, value)| (id.parse().unwrap(), value.as_slice().into()));
    secrets.collect()
}

#[test]
fn settings_and_urls_are_restored_as_they_were() {
    let values = ["3000", "postgres://a:b@h/x", "it's", ""].map(|value| value.as_bytes().to_vec());
    for (format, name) in [(Exported::Dotenv, ".env"), (Exported::Shell, "x.sh")] {
        assert_eq!(restored(format, name, &values).unwrap(), expected(&values));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_env_file_restores_every_value_that_it_can_hold(
        values in proptest::collection::vec("[a-z'\"\\\\$`{}#=: \n\u{e9}]{0,12}".prop_map(String::into_bytes), 4)
    ) {
        if let Some(restored) = restored(Exported::Dotenv, ".env", &values) {
            prop_assert_eq!(restored, expected(&values));
        }
    }

    #[test]
    fn a_script_restores_every_value_without_a_line_break_at_its_end(
        values in proptest::collection::vec(proptest::collection::vec(1..=u8::MAX, 0..12), 4)
    ) {
        prop_assume!(values.iter().all(|value| !value.ends_with(b"\n")));
        prop_assert_eq!(restored(Exported::Shell, "x.sh", &values).unwrap(), expected(&values));
    }
}
