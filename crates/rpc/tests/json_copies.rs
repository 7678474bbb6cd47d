//! A call with JSON leaves no copy of a secret in freed memory. The allocator of this program looks
//! at every block that is freed.

use std::collections::BTreeMap;

use keyway_rpc::client::{Client, Config};
use keyway_rpc::json::Descriptors;
use keyway_rpc::{Codec, Error, MethodSpec, Request, Response, Route, Router};
use keyway_test_support::FreedMemory;
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MessageOptions,
};
use zeroize::Zeroize;

/// The content of every string and value of the test.
const SECRET: &str = "hunter2-hunter2-hunter2";
/// The part of the base64 of [`SECRET`] that does not depend on what follows.
const BASE64: &str = "aHVudGVyMi1odW50ZXIyLWh1bnRlcj";

#[global_allocator]
static FREED: FreedMemory = FreedMemory::new(&[SECRET.as_bytes(), BASE64.as_bytes()]);

/// How many freed blocks of `work` hold the secret.
async fn copies<T>(work: impl Future<Output = T>) -> (usize, T) {
    FREED.start();
    let output = work.await;
    (FREED.stop(), output)
}

/// A message that zeroes its own fields, as owners of secrets do.
#[derive(Clone, PartialEq, Message)]
struct Vault {
    #[prost(string, tag = "1")]
    text: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    inner: Vec<Self>,
    #[prost(btree_map = "string, string", tag = "4")]
    labels: BTreeMap<String, String>,
    #[prost(bytes = "vec", repeated, tag = "5")]
    values: Vec<Vec<u8>>,
}

impl prost::Name for Vault {
    const NAME: &'static str = "Vault";
    const PACKAGE: &'static str = "test";
}

impl Drop for Vault {
    fn drop(&mut self) {
        self.text.zeroize();
        self.value.zeroize();
        self.values.zeroize();
        for (mut key, mut value) in std::mem::take(&mut self.labels) {
            key.zeroize();
            value.zeroize();
        }
    }
}

fn vault() -> Vault {
    let mut inner = Vault::default();
    inner.value = SECRET.into();
    let mut vault = Vault::default();
    // Every kind of escape, so that readers have to unescape.
    vault.text = format!("{SECRET} \"\\/\u{8}\u{c}\n\r\t\u{1}\u{e4}\u{1f600} {SECRET}");
    vault.value = SECRET.repeat(50).into();
    vault.inner = vec![inner.clone(), inner];
    vault.labels = BTreeMap::from([(SECRET.to_owned(), format!("\"{SECRET}\""))]);
    vault.values = vec![SECRET.into()];
    vault
}

fn field(number: i32, name: &str, kind: Type, type_name: Option<&str>) -> FieldDescriptorProto {
    let is_repeated = matches!(name, "inner" | "labels" | "values");
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        r#type: Some(kind.into()),
        type_name: type_name.map(str::to_owned),
        label: Some(
            if is_repeated {
                Label::Repeated
            } else {
                Label::Optional
            }
            .into(),
        ),
        ..FieldDescriptorProto::default()
    }
}

fn descriptors() -> &'static Descriptors {
    let entry = DescriptorProto {
        name: Some("LabelsEntry".to_owned()),
        field: vec![
            field(1, "key", Type::String, None),
            field(2, "value", Type::String, None),
        ],
        options: Some(MessageOptions {
            map_entry: Some(true),
            ..MessageOptions::default()
        }),
        ..DescriptorProto::default()
    };
    let vault = DescriptorProto {
        name: Some("Vault".to_owned()),
        field: vec![
            field(1, "text", Type::String, None),
            field(2, "value", Type::Bytes, None),
            field(3, "inner", Type::Message, Some(".test.Vault")),
            field(4, "labels", Type::Message, Some(".test.Vault.LabelsEntry")),
            field(5, "values", Type::Bytes, None),
        ],
        nested_type: vec![entry],
        ..DescriptorProto::default()
    };
    let file = FileDescriptorProto {
        name: Some("test.proto".to_owned()),
        package: Some("test".to_owned()),
        message_type: vec![vault],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    };
    let set = FileDescriptorSet { file: vec![file] };
    Box::leak(Box::new(Descriptors::new(set.encode_to_vec().leak())))
}

#[tokio::test(flavor = "current_thread")]
async fn a_call_with_json_frees_no_copy_of_a_secret() {
    // The scan finds a copy that was left on purpose.
    let (found, ()) = copies(async { drop(SECRET.to_owned()) }).await;
    assert_eq!(found, 1);
    let (found, ()) = copies(async { drop(BASE64.to_owned()) }).await;
    assert_eq!(found, 1);

    let spec: &'static MethodSpec = Box::leak(Box::new(
        MethodSpec::unary("/test.Vaults/Open")
            .sensitive()
            .with_descriptors(descriptors()),
    ));
    let open = |request: Request<Vault>| async move {
        Ok::<_, Error>(Response::new(request.into_message()))
    };
    let router = Router::new().add_route(Route::unary(spec, open));
    for codec in [Codec::Proto, Codec::Json] {
        let client = Client::with_config(router.clone(), Config::default().codec(codec));
        let call = client.unary::<Vault, Vault>(spec, vault().into());
        let (found, response) = copies(call).await;
        let response = response.expect("the vault opens");
        assert!(
            *response.message() == vault(),
            "{codec:?} changed the message"
        );
        assert_eq!(found, 0, "copies of the secret with {codec:?}");
    }

    // The syntax is checked before anything is copied.
    let json = descriptors().to_json(&vault()).expect("it has a JSON form");
    let cut = &json[..json.len() - 1];
    let (found, result) = copies(async { descriptors().from_json::<Vault>(cut.as_bytes()) }).await;
    assert!(result.is_err());
    assert_eq!(found, 0, "copies of the secret in malformed JSON");
}
