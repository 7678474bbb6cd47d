//! No memory that an import frees holds a value.

use keyway_test_support::FreedMemory;

use super::*;
use crate::commands::import::leftovers::Leftovers;
use crate::commands::import::report::{self, FileReport};

/// No other test uses this text. It has no upper case, so that a copy in lower case is found as well.
#[global_allocator]
static FREED: FreedMemory = FreedMemory::new(&[b"canary0of1an2import"]);

/// A file of each format with the text.
const FILES: [(&str, &str); 9] = [
    (
        ".env",
        "A=canary0of1an2import\nB_TOKEN='canary0of1an2import'\nC_TOKEN=\"x\\ncanary0of1an2import\"\n",
    ),
    (
        "url.env",
        "URL=x://a:canary0of1an2import@h\nD=${X}canary0of1an2import\nE=a=canary0of1an2import=;b\n",
    ),
    (
        "x.sh",
        "A_TOKEN=canary0of1an2import\nB_TOKEN=\"canary0of1an2import\"\\'\nC_TOKEN=canary0of1an2import x\n",
    ),
    (
        ".netrc",
        "machine a login b password canary0of1an2import\nmachine b password \"canary0of1an2import\"\n",
    ),
    (".npmrc", "//a/:_authToken=canary0of1an2import\n"),
    (".pypirc", "[a]\npassword = canary0of1an2import\n"),
    (".git-credentials", "https://a:canary0of1an2import@h\n"),
    (
        ".aws/credentials",
        "[a]\naws_access_key_id = a\naws_secret_access_key = canary0of1an2import\n",
    ),
    ("broken.env", "A='canary0of1an2import\n"),
];

#[test]
fn freed_memory_holds_no_value() {
    let project = Project::new("");
    fs::create_dir(project.path(".aws")).unwrap();
    let paths = FILES.map(|(name, text)| {
        project.write(name, text);
        project.path(name)
    });
    let vault = MemoryVault::default();
    FREED.start();
    let batch = read(&paths, &vault);
    let reports = batch.files.iter().map(|file| FileReport {
        file,
        applied: Some(apply(&file.source, &file.plan, &vault, true)),
        leftovers: Leftovers::default(),
    });
    let reports: Vec<_> = reports.collect();
    assert!(
        reports
            .iter()
            .all(|report| matches!(report.applied, Some(Ok(_))))
    );
    let shown = report::tables(&batch) + &report::to_json(&batch, &reports);
    assert!(!shown.contains("canary"), "{shown}");
    assert_eq!((batch.files.len(), batch.n_moved()), (8, 11));
    drop(reports);
    drop(batch);
    drop(vault);
    assert_eq!(FREED.stop(), 0);
}
