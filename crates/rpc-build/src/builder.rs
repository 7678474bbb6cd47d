//! [`Builder`]: the steps of the generation.

use std::path::{Path, PathBuf};

use crate::descriptors::Descriptors;
use crate::message::Redaction;
use crate::output::Output;
use crate::service::Generator;
use crate::settings::{Emit, Settings};
use crate::source::Sources;
use crate::{Error, naming, types};

/// Returns a [`Builder`] with the default settings.
#[must_use]
pub fn configure() -> Builder {
    Builder::default()
}

type ProstHook = Box<dyn FnOnce(&mut prost_build::Config)>;

/// Settings of the code generation; see the [crate](crate) for an example.
#[derive(Default)]
pub struct Builder {
    out_dir: Option<PathBuf>,
    settings: Settings,
    redact: Vec<String>,
    include_file: Option<PathBuf>,
    prost: Vec<ProstHook>,
}

impl Builder {
    /// Writes to this directory. Default: `OUT_DIR`, which Cargo sets for build scripts.
    #[must_use]
    pub fn out_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.out_dir = Some(dir.into());
        self
    }

    /// Sets whether clients are generated. Default: always.
    #[must_use]
    pub fn client(mut self, emit: Emit) -> Self {
        self.settings.client = emit;
        self
    }

    /// Sets whether service traits and servers are generated. Default: always.
    #[must_use]
    pub fn server(mut self, emit: Emit) -> Self {
        self.settings.server = emit;
        self
    }

    /// Sets whether the descriptors that JSON needs are embedded, from a file beside the generated
    /// code. They require the feature `json` of `keyway-rpc`. Default: never.
    #[must_use]
    pub fn json(mut self, emit: Emit) -> Self {
        self.settings.json = emit;
        self
    }

    /// Sets the path under which generated code finds `keyway-rpc`. Default: `::keyway_rpc`.
    #[must_use]
    pub fn runtime_path(mut self, path: impl Into<String>) -> Self {
        self.settings.runtime_path = path.into();
        self
    }

    /// Hides messages and fields from `Debug`: names such as `secrets.v1.Secret` (all fields of the
    /// message) or `secrets.v1.Secret.value` (this field). Methods whose request or response can
    /// contain a hidden field are marked as sensitive, so that `keyway-rpc` zeroes its buffers.
    #[must_use]
    pub fn redact<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.redact.extend(names.into_iter().map(Into::into));
        self
    }

    /// Limits the requests of a method, `package.Service.Method`, to `bytes` bytes after
    /// decompression. Default: the limit of the router that serves it, 64 KiB unless it is changed.
    #[must_use]
    pub fn max_request_size(mut self, method: impl Into<String>, bytes: usize) -> Self {
        let sizes = &mut self.settings.max_request_sizes;
        sizes.insert(method.into(), bytes);
        self
    }

    /// Leaves out streaming methods, which otherwise are an error. Default: `false`.
    #[must_use]
    pub fn skip_streaming(mut self, skip: bool) -> Self {
        self.settings.skip_streaming = skip;
        self
    }

    /// Writes one more file with this name, which includes all others as modules named after their
    /// packages.
    #[must_use]
    pub fn include_file(mut self, name: impl Into<PathBuf>) -> Self {
        self.include_file = Some(name.into());
        self
    }

    /// Changes the settings of prost: other types for `bytes` or maps, attributes, types from other
    /// crates. By default maps are `BTreeMap`, so that equal messages have equal bytes, and every
    /// message has its `prost::Name`, with the type URL that all implementations of `Any` accept
    /// (`type.googleapis.com/` and the full name).
    #[must_use]
    pub fn prost(mut self, change: impl FnOnce(&mut prost_build::Config) + 'static) -> Self {
        self.prost.push(Box::new(change));
        self
    }

    /// Reads `protos`, which must lie in one of the `includes`, with everything that they import,
    /// and writes one file for each package. A file that would not change is not written. In a
    /// build script the files are registered with Cargo, which runs it again when one changes.
    ///
    /// # Errors
    ///
    /// Returns [`Error`] if a file is missing or wrong, a setting names an unknown message, field or
    /// method, or a file cannot be written.
    pub fn compile(
        mut self,
        protos: &[impl AsRef<Path>],
        includes: &[impl AsRef<Path>],
    ) -> Result<(), Error> {
        let (out_dir, in_build_script) = self.target()?;
        let sources = Sources::read(protos, includes)?;
        if in_build_script {
            sources.watch();
        }
        types::check(&sources, self.prost.is_empty())?;
        naming::check(&sources, &self.settings)?;
        let redaction = Redaction::new(&sources, &self.redact)?;
        let mut prost = prost_build::Config::new();
        prost
            .enable_type_names()
            .type_name_domain(["."], "type.googleapis.com")
            .btree_map(["."])
            .skip_debug(redaction.messages());
        for change in self.prost.drain(..) {
            change(&mut prost);
        }
        let include_file = self.include_file.take();
        prost.service_generator(Box::new(Generator::new(&self.settings, redaction.clone())));
        let mut output = Output::generate(&mut prost, &sources)?;
        output.append_debug(&redaction, &sources);
        if !self.settings.json.is_never() {
            Descriptors::new(&self.settings, &sources).add_to(&mut output);
        }
        if let Some(name) = include_file {
            output.add_include_file(name);
        }
        output.write(&out_dir)
    }

    fn target(&self) -> Result<(PathBuf, bool), Error> {
        match (&self.out_dir, std::env::var_os("OUT_DIR")) {
            (Some(dir), _) => Ok((dir.clone(), false)),
            (None, Some(dir)) => Ok((dir.into(), true)),
            (None, None) => Err(Error::NoOutDir),
        }
    }
}
