//! `cargo xtask codegen`: writes the committed code that is generated from `.proto` files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use keyway_rpc_build::Emit;

use crate::workspace::Workspace;

/// Options of `cargo xtask codegen`.
#[derive(Args)]
pub(crate) struct Options {
    /// Write nothing; fail if the committed code is not current.
    #[arg(long)]
    pub(crate) check: bool,
}

/// The generated code of one folder.
struct Target {
    /// The folder under which imports are looked up, relative to the workspace's root.
    include: &'static str,
    /// The files to compile, relative to `include`.
    protos: &'static [&'static str],
    /// The folder of the generated code, which contains no other files.
    output: &'static str,
}

/// Everything that is generated.
const TARGETS: &[Target] = &[Target {
    include: "crates/proto/proto",
    protos: &[
        "accesscontrol/v1/accesscontrol.proto",
        "health/v1/health.proto",
        "keyway/store/v1/docker.proto",
        "keyway/store/v1/store.proto",
        "keyway/v1/catalog.proto",
        "keyway/v1/describe.proto",
        "keyway/v1/failure.proto",
        "keyway/v1/host.proto",
        "keyway/v1/management.proto",
        "plugins/v1/plugins.proto",
        "resolver/v1/legacy.proto",
        "resolver/v1/resolver.proto",
    ],
    output: "crates/proto/src/generated",
}];

/// The fields that hold secret values. `Debug` omits them, and the buffers of the methods that carry them are zeroized.
const WITH_VALUES: &[&str] = &[
    "keyway.store.v1.DockerSecret.value",
    "keyway.store.v1.SetRequest.value",
    "resolver.v1.GetSecretsResponse.Envelope.value",
];

/// The methods whose requests carry a value, and the longest such request in bytes (`keyway_proto::limits::MAX_WRITE_REQUEST_LEN`).
const LARGE_REQUESTS: &[(&str, usize)] = &[
    ("keyway.store.v1.DockerService.Store", 12 * 1024 * 1024),
    ("keyway.store.v1.StoreService.Set", 12 * 1024 * 1024),
];

/// Writes the generated code, or checks that it is current.
///
/// # Errors
///
/// Fails if a `.proto` file does not compile, or with `--check` if the committed code is not current.
pub(crate) fn run(options: &Options) -> Result<()> {
    let root = Workspace::load()?.root;
    TARGETS.iter().try_for_each(|target| {
        let fresh = tempfile::tempdir()?;
        generate(&root, target, fresh.path())?;
        let output = root.join(target.output);
        if options.check {
            compare(fresh.path(), &output, target)
        } else {
            replace(fresh.path(), &output)
        }
    })
}

fn generate(root: &Path, target: &Target, output: &Path) -> Result<()> {
    let feature = |name: &str| Emit::IfFeature(name.to_owned());
    let builder = keyway_rpc_build::configure();
    let builder = LARGE_REQUESTS
        .iter()
        .fold(builder, |builder, (method, bytes)| {
            builder.max_request_size(*method, *bytes)
        });
    builder
        .out_dir(output)
        .client(feature("client"))
        .server(feature("server"))
        .json(feature("json"))
        .redact(WITH_VALUES.iter().copied())
        .compile(target.protos, &[root.join(target.include)])
        .with_context(|| format!("generating from {}", target.include))
}

/// Fails if a file differs, is missing or is left over.
fn compare(fresh: &Path, committed: &Path, target: &Target) -> Result<()> {
    let (expected, found) = (files(fresh)?, files(committed)?);
    let stale =
        |file: &&PathBuf| fs::read(fresh.join(file)).ok() != fs::read(committed.join(file)).ok();
    if let Some(file) = expected.union(&found).find(stale) {
        bail!(
            "{}/{} is not current: run `cargo xtask codegen` and commit the files",
            target.output,
            file.display()
        );
    }
    Ok(())
}

fn replace(fresh: &Path, committed: &Path) -> Result<()> {
    fs::create_dir_all(committed)?;
    let expected = files(fresh)?;
    for left_over in files(committed)?.difference(&expected) {
        fs::remove_file(committed.join(left_over))?;
    }
    for file in expected {
        fs::copy(fresh.join(&file), committed.join(&file))?;
    }
    Ok(())
}

/// Returns the names of the files in `folder`; none if it does not exist.
fn files(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    if !folder.exists() {
        return Ok(BTreeSet::new());
    }
    fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().into()))
        .collect()
}
