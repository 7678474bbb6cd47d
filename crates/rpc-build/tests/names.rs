//! Generated code compiles without a warning, whatever the names in a `.proto` file are.
#![deny(warnings, reason = "generated code has none, in whatever crate it is")]

use std::path::{Path, PathBuf};
use std::{env, fs};

use keyway_rpc_build::configure;
use tempfile::TempDir;

mod names {
    #![allow(
        clippy::use_self,
        unreachable_pub,
        reason = "what prost writes is not in question"
    )]

    include!("names/names.v1.rs");
}

/// Set to write what would be generated today.
const BLESS: &str = "KEYWAY_BLESS";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/names")
}

#[test]
fn the_code_that_is_compiled_here_is_what_is_generated() {
    let fresh = TempDir::new().expect("a temporary folder");
    configure()
        .out_dir(fresh.path())
        .redact(["names.v1.Card"])
        .compile(&[folder().join("names.proto")], &[folder()])
        .expect("the file is right");
    let fresh = fs::read(fresh.path().join("names.v1.rs")).expect("the file was written");
    let committed = folder().join("names.v1.rs");
    if env::var_os(BLESS).is_some() {
        fs::write(&committed, &fresh).expect("the source tree can be written");
    }
    let committed = fs::read(&committed).expect("the file is there");
    assert!(committed == fresh, "set {BLESS} to have it written anew");
}

struct Named;

impl names::Names for Named {
    async fn into(
        &self,
        request: keyway_rpc::Request<names::Into>,
    ) -> Result<keyway_rpc::Response<names::From>, keyway_rpc::Error> {
        let names::Into {} = request.into_message();
        Ok(names::From {}.into())
    }
}

/// Some implementations of `Any` read no other URL.
#[test]
fn type_urls_are_those_of_everybody() {
    let url = <names::Card as prost::Name>::type_url();
    assert_eq!(url, "type.googleapis.com/names.v1.Card");
}

#[tokio::test]
async fn a_service_with_such_names_can_be_called() {
    let server = names::NamesServer::new(Named);
    let client = names::NamesClient::new(keyway_rpc::Router::new().add_service(server));
    client.into_(names::Into {}).await.expect("it is served");
    let error = client.s(names::S {}).await.expect_err("it is not");
    assert_eq!(error.code(), keyway_rpc::Code::Unimplemented);
}
