//! The settings that select the generated code.

use std::collections::BTreeMap;

/// Selects whether a part of the code is generated.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Emit {
    /// The part is generated.
    Always,
    /// The part is left out.
    Never,
    /// The part depends on this feature of the crate that contains the generated code.
    IfFeature(String),
}

impl Emit {
    /// Returns the attribute of an item of the part.
    pub(crate) fn attribute(&self) -> String {
        match self {
            Self::IfFeature(feature) => format!("#[cfg(feature = \"{feature}\")]\n"),
            Self::Always | Self::Never => String::new(),
        }
    }

    pub(crate) fn is_never(&self) -> bool {
        *self == Self::Never
    }
}

/// The settings that several steps of the generation read.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) client: Emit,
    pub(crate) server: Emit,
    pub(crate) json: Emit,
    /// The path under which generated code finds `keyway-rpc`.
    pub(crate) runtime_path: String,
    /// `true` if streaming methods are left out; otherwise they are an error.
    pub(crate) skip_streaming: bool,
    /// Full names of methods, `package.Service.Method`, to the limits of their requests in bytes.
    pub(crate) max_request_sizes: BTreeMap<String, usize>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            client: Emit::Always,
            server: Emit::Always,
            json: Emit::Never,
            runtime_path: "::keyway_rpc".to_owned(),
            skip_streaming: false,
            max_request_sizes: BTreeMap::new(),
        }
    }
}
