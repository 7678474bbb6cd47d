//! Generated code compiles without a warning, whatever the names in a `.proto` file are.
#![deny(warnings, reason = "generated code has none in any crate")]

use std::path::{Path, PathBuf};
use std::{env, fs};

use keyway_rpc_build::configure;
use tempfile::TempDir;

mod names {
    #![allow(
        clippy::use_self,
        unreachable_pub,
        reason = "the code of prost is not under test"
    )]

    include!("names/names.v1.rs");
}

/// Set to write the code that is generated today.
const BLESS: &str = "KEYWAY_BLESS";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/names")
}

#[test]
fn the_committed_code_is_the_generated_code() {
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

/// An implementation with all derives, whose traits have methods of the same names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Named;

impl names::Names for Named {
    async fn into_(
        &self,
        request: keyway_rpc::Request<names::Into>,
    ) -> Result<keyway_rpc::Response<names::From>, keyway_rpc::Error> {
        let names::Into {} = request.into_message();
        Ok(names::From {}.into())
    }
}

impl names::Prelude for Named {
    async fn clone_(
        &self,
        request: keyway_rpc::Request<names::None>,
    ) -> Result<keyway_rpc::Response<names::None>, keyway_rpc::Error> {
        Ok(request.into_message().into())
    }
}

/// An implementation that is an iterator.
struct Empty;

impl names::Prelude for Empty {}

impl Iterator for Empty {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        None
    }
}

/// Some implementations of `Any` read no other URL.
#[test]
fn type_urls_have_the_common_prefix() {
    let url = <names::Card as prost::Name>::type_url();
    assert_eq!(url, "type.googleapis.com/names.v1.Card");
}

#[tokio::test]
async fn a_service_with_reserved_names_can_be_called() {
    let server = names::NamesServer::new(Named);
    let client = names::NamesClient::new(keyway_rpc::Router::new().add_service(server));
    client.into_(names::Into {}).await.expect("it is served");
    let error = client.s(names::S {}).await.expect_err("it is not");
    assert_eq!(error.code(), keyway_rpc::Code::Unimplemented);
}

/// Every name below is that of a method of the service, too.
#[tokio::test]
async fn methods_hide_nothing_of_the_prelude() {
    use std::any::Any as _;
    use std::borrow::Borrow as _;
    use std::fmt::Debug;

    let named = Named;
    let default: Named = Default::default();
    assert_eq!(named.clone(), default);
    assert_eq!(named.cmp(&named.max(named)), std::cmp::Ordering::Equal);
    assert!(named.eq(&named) && !named.lt(&named));
    assert_eq!(Empty.by_ref().take(1).next(), None);
    assert_eq!(Empty.map(u32::from).max(), None);

    let server = names::PreludeServer::new(Named);
    let router = keyway_rpc::Router::new().add_service(server.clone());
    let config = keyway_rpc::client::Config::default();
    let client = keyway_rpc::client::Client::with_config(router, config);
    let client = names::PreludeClient::from(client);
    let copy: names::PreludeClient<_> = client.clone();
    let owned = copy.to_owned();
    let same: &names::PreludeClient<keyway_rpc::Router> = owned.borrow();
    assert_eq!(same.type_id(), client.type_id());
    let shown: &dyn Debug = same;
    assert!(format!("{shown:?}").starts_with("PreludeClient"));
    let moved: Box<names::PreludeClient<_>> = owned.into();
    moved.clone_(names::None {}).await.expect("it is served");
    let error = moved.next_(names::None {}).await.expect_err("it is not");
    assert_eq!(error.code(), keyway_rpc::Code::Unimplemented);
}

/// The future of a call outlives its client and moves to another task.
#[tokio::test]
async fn a_call_does_not_borrow_its_client() {
    let server = names::PreludeServer::new(Named);
    let router = keyway_rpc::Router::new().add_service(server);
    let call = {
        let client = names::PreludeClient::new(router);
        client.clone_(names::None {})
    };
    let response = tokio::spawn(call).await.expect("no panic");
    response.expect("it is served");
}
