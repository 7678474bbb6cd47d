//! A call leaves no copy of a secret in freed memory, whatever the codec, compressed or not, and wherever it ends. The
//! allocator of this program looks at every block that is freed.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::task::{Context, Poll};

use futures_core::future::BoxFuture;
use http_body::Body as _;
use keyway_rpc::client::{Client, Config};
use keyway_rpc::json::Descriptors;
use keyway_rpc::{Body, Codec, Compression, Error, MethodSpec, Request, Response, Route, Router};
use keyway_test_support::FreedMemory;
use keyway_test_support::body::Chunks;
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

/// Returns how many freed blocks of `work` hold the secret, and its output.
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

/// Never completes: the handler of a call that is cancelled.
async fn forever<T>(request: Request<T>) -> Result<Response<T>, Error> {
    std::future::pending::<()>().await;
    Ok(Response::new(request.into_message()))
}

/// A transport that forwards the first bytes of a response and then nothing.
#[derive(Clone)]
struct Stalling {
    router: Router,
    len: usize,
    /// `true` if the response ends there.
    ends: bool,
}

impl tower::Service<http::Request<Body>> for Stalling {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (response, len, ends) = (self.router.call(request), self.len, self.ends);
        Box::pin(async move {
            let (parts, body) = response.await?.into_parts();
            let mut body = std::pin::pin!(body);
            let frame = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
            let whole = frame
                .expect("a body")
                .expect("data")
                .into_data()
                .expect("data");
            let beginning = Chunks::new([whole.slice(..len.min(whole.len()))]);
            let body = Body::new(if ends { beginning } else { beginning.stalled() });
            Ok(http::Response::from_parts(parts, body))
        })
    }
}

/// Polls a call until it waits, and drops it.
async fn cancel<T>(call: impl Future<Output = T>) {
    let mut call = std::pin::pin!(call);
    for _ in 0..8 {
        let polled = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
        assert!(polled.is_pending(), "the call has ended");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_call_frees_no_copy_of_a_secret() {
    // The scan finds a copy that was left on purpose.
    let (found, ()) = copies(async { drop(SECRET.to_owned()) }).await;
    assert_eq!(found, 1);
    let (found, ()) = copies(async { drop(BASE64.to_owned()) }).await;
    assert_eq!(found, 1);

    let spec = |path| -> &'static MethodSpec {
        let spec = MethodSpec::unary(path).sensitive();
        Box::leak(Box::new(spec.with_descriptors(descriptors())))
    };
    let (open, hang) = (spec("/test.Vaults/Open"), spec("/test.Vaults/Hang"));
    let echo = |request: Request<Vault>| async move {
        Ok::<_, Error>(Response::new(request.into_message()))
    };
    let router = Router::new()
        .add_route(Route::unary(open, echo))
        .add_route(Route::unary(hang, forever::<Vault>));
    for (codec, compression) in [
        (Codec::Proto, Compression::Never),
        (Codec::Json, Compression::Never),
        (Codec::Proto, Compression::Gzip { min_size: 0 }),
        (Codec::Json, Compression::Gzip { min_size: 0 }),
    ] {
        let how = format!("{codec:?} {compression:?}");
        let router = router.clone().compression(compression);
        let config = Config::default()
            .codec(codec)
            .compression(compression)
            .accept_compression(compression != Compression::Never);
        let client = Client::with_config(router.clone(), config.clone());
        let call = client.unary::<Vault, Vault>(open, vault().into());
        let (found, response) = copies(call).await;
        let response = response.expect("the vault opens");
        assert!(*response.message() == vault(), "{how} changed the message");
        assert_eq!(found, 0, "copies of the secret with {how}");

        let call = client.unary::<Vault, Vault>(hang, vault().into());
        let (found, ()) = copies(cancel(call)).await;
        assert_eq!(found, 0, "copies after a call was cancelled with {how}");

        for len in [1, 30, 120] {
            let stalling = |ends| {
                let router = router.clone();
                Client::with_config(Stalling { router, len, ends }, config.clone())
            };
            let stalled = stalling(false);
            let call = stalled.unary::<Vault, Vault>(open, vault().into());
            let (found, ()) = copies(cancel(call)).await;
            assert_eq!(
                found, 0,
                "copies after {len} bytes of a response with {how}"
            );
            let cut = stalling(true);
            let call = cut.unary::<Vault, Vault>(open, vault().into());
            let (found, result) = copies(call).await;
            assert!(result.is_err());
            assert_eq!(
                found, 0,
                "copies of a response cut after {len} bytes with {how}"
            );
        }
    }

    // The syntax is checked before anything is copied.
    let json = descriptors().to_json(&vault()).expect("it has a JSON form");
    let cut = &json[..json.len() - 1];
    let (found, result) = copies(async { descriptors().from_json::<Vault>(cut.as_bytes()) }).await;
    assert!(result.is_err());
    assert_eq!(found, 0, "copies of the secret in malformed JSON");
}
