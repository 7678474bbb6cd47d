//! The traits of HTTP frameworks, each behind its feature.

#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "hyper-util")]
mod hyper_util;
#[cfg(feature = "tonic")]
mod tonic;
