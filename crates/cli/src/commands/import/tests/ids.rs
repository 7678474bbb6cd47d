//! Which ids values get, and when a value stays because of its id.

use super::*;

/// The choice for each secret.
fn choices(batch: &Batch) -> Vec<(String, Stored)> {
    let lines = batch.files.iter().flat_map(|file| &file.plan.lines);
    let choices = lines.filter_map(|line| match &line.choice {
        Choice::Move(id, stored) => Some((id.to_string(), *stored)),
        Choice::Leave => None,
    });
    choices.collect()
}

#[test]
fn values_of_one_name_get_different_ids_and_equal_values_share_one() {
    let project = Project::new(
        "A_TOKEN=x\nPORT=3000\nA_TOKEN=y\na-token=x\n"
            .replace("a-token", "A__TOKEN")
            .as_str(),
    );
    let ids = choices(&project.batch(&MemoryVault::default()));
    let new = |id: &str| (id.to_owned(), Stored::Nothing);
    assert_eq!(
        ids,
        [
            new("shop/a-token"),
            new("shop/a-token-2"),
            new("shop/a-token")
        ]
    );
}

#[test]
fn files_of_one_import_share_no_id_unless_the_value_is_equal() {
    let project = Project::new("A_TOKEN=x\n");
    project.write("shop/.envrc", "export A_TOKEN=y\nexport B_TOKEN=z\n");
    let paths = [".env", ".envrc", ".env"].map(|name| project.path("shop").join(name));
    let batch = read(&paths, &MemoryVault::default());
    assert_eq!(batch.files.len(), 2);
    let ids: Vec<_> = choices(&batch).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["shop/a-token", "shop/a-token-2", "shop/b-token"]);
}

#[test]
fn a_stored_value_is_used_and_another_one_is_never_overwritten() {
    let project = Project::new("A_TOKEN=x\nB_TOKEN=y\nC_TOKEN=z\n");
    let vault = MemoryVault::with(&[("shop/a-token", "x"), ("shop/b-token", "other")]);
    let batch = project.batch(&vault);
    let stored: Vec<_> = choices(&batch)
        .into_iter()
        .map(|(_, stored)| stored)
        .collect();
    assert_eq!(
        stored,
        [Stored::SameValue, Stored::OtherValue, Stored::Nothing]
    );
    assert!(batch.is_partial());
    let applied = apply_only(&batch, &vault).unwrap();
    assert_eq!(applied.n_stored, 1);
    assert_eq!(
        project.env(),
        "A_TOKEN=se://shop/a-token\nB_TOKEN=y\nC_TOKEN=se://shop/c-token\n"
    );
    assert_eq!(vault.value("shop/b-token").unwrap(), "other");
}

#[test]
fn a_value_is_replaced_if_the_user_chose_so() {
    let project = Project::new("A_TOKEN=x\n");
    let vault = MemoryVault::with(&[("shop/a-token", "other")]);
    let mut batch = project.batch(&vault);
    batch.files[0].plan.lines[0].choice =
        Choice::Move("shop/a-token".parse().unwrap(), Stored::Replaced);
    apply_only(&batch, &vault).unwrap();
    assert_eq!(vault.value("shop/a-token").unwrap(), "x");
    assert_eq!(project.env(), "A_TOKEN=se://shop/a-token\n");
}

#[test]
fn a_reserved_id_keeps_its_value_in_the_file() {
    let project = Project::new("# se://keyway/manage/token\nA_TOKEN=x\n");
    let batch = project.batch(&MemoryVault::default());
    assert_eq!(
        choices(&batch),
        [("keyway/manage/token".to_owned(), Stored::Reserved)]
    );
    assert_eq!((batch.n_moved(), batch.is_partial()), (0, true));
}

#[test]
fn a_prefix_takes_the_place_of_the_project() {
    let project = Project::new("A_TOKEN=x\n");
    let prefix = "old/app".parse().unwrap();
    let rules = Rules {
        format: Some(Format::Shell),
        prefix: Some(&prefix),
        breaks_hard_links: false,
    };
    let batch = Batch::read(
        &[project.path("shop/.env")],
        &rules,
        &MemoryVault::default(),
    )
    .unwrap();
    assert_eq!(choices(&batch)[0].0, "old/app/a-token");
    apply_only(&batch, &MemoryVault::default()).unwrap();
    assert_eq!(project.env(), "A_TOKEN=\"$(keyway get old/app/a-token)\"\n");
}

/// A store that returns another value than the one that was stored.
struct WrongVault;

impl Vault for WrongVault {
    fn current(&self, _: &Id) -> Result<Option<SecretValue>, Failure> {
        Ok(None)
    }

    fn store(&self, _: &Id, _: &SecretValue, _: &Expected) -> Result<(), Failure> {
        Ok(())
    }
}

#[test]
fn a_value_that_is_not_read_back_stays_in_the_file() {
    let project = Project::new("A_TOKEN=x\n");
    let failure = apply_only(&project.batch(&WrongVault), &WrongVault).unwrap_err();
    assert!(
        failure
            .what()
            .contains("another value when it is read back"),
        "{failure}"
    );
    assert_eq!(project.env(), "A_TOKEN=x\n");
}

#[test]
fn an_id_that_is_stored_during_the_question_is_an_error() {
    let project = Project::new("A_TOKEN=x\n");
    let vault = MemoryVault::default();
    let batch = project.batch(&vault);
    vault
        .store(
            &"shop/a-token".parse().unwrap(),
            &"other".into(),
            &Expected::Any,
        )
        .unwrap();
    let failure = apply_only(&batch, &vault).unwrap_err();
    assert!(failure.what().contains("in the meantime"), "{failure}");
    assert_eq!(vault.value("shop/a-token").unwrap(), "other");
    assert_eq!(project.env(), "A_TOKEN=x\n");
}
