//! The limits of requests: at each limit, one above it, and far above it.

use keyway_proto::keyway::v1::{CatalogServiceClient, ListSecretsRequest};
use keyway_proto::limits::{MAX_AUTHORIZE_PATTERNS, MAX_REQUEST_LEN};
use keyway_proto::resolver::v1::{
    AuthorizeRequest, AuthorizerServiceClient, GetSecretsRequest, ResolverServiceClient,
};
use keyway_resolver::DaemonSocket;
use keyway_rpc::client::{Client, Config};
use keyway_rpc::{Code, Codec, Error};
use keyway_secrets::Pattern;
use keyway_tests::{Behaviour, TestDaemon};

use crate::common::start_behaving;

/// A client that speaks binary protobuf, and one that speaks JSON.
fn clients(daemon: &TestDaemon) -> [Client<DaemonSocket>; 2] {
    [Codec::Proto, Codec::Json].map(|codec| {
        let socket = DaemonSocket::at(daemon.address().clone());
        Client::with_config(socket, Config::default().codec(codec))
    })
}

/// The error of each method that takes this pattern.
async fn errors(client: &Client<DaemonSocket>, pattern: &str) -> [Error; 3] {
    let pattern = || Some(pattern.to_owned());
    let resolver = ResolverServiceClient::from(client.clone());
    let get = resolver.get_secrets(GetSecretsRequest { pattern: pattern() });
    let catalog = CatalogServiceClient::from(client.clone());
    let list = catalog.list_secrets(ListSecretsRequest { pattern: pattern() });
    let authorizer = AuthorizerServiceClient::from(client.clone());
    let patterns = vec![pattern().unwrap_or_default()];
    let authorize = authorizer.authorize(AuthorizeRequest { patterns });
    [
        get.await.expect_err("refused"),
        list.await.expect_err("refused"),
        authorize.await.expect_err("refused"),
    ]
}

#[tokio::test]
async fn patterns_are_refused_beyond_their_limits_by_every_method_and_codec() {
    let daemon = start_behaving(&[("good", Behaviour::Good)]).await;
    let deep = |components: usize| format!("good{}", "/a".repeat(components - 1));
    let long = |len: usize| format!("good/{}", "a".repeat(len - 5));
    for client in clients(&daemon) {
        let resolver = ResolverServiceClient::from(client.clone());
        for id in [deep(Pattern::MAX_COMPONENTS), long(Pattern::MAX_LEN)] {
            let request = GetSecretsRequest { pattern: Some(id) };
            let response = resolver.get_secrets(request).await.expect("a secret");
            assert_eq!(response.message().envelopes.len(), 1);
        }
        for pattern in [
            deep(Pattern::MAX_COMPONENTS + 1),
            long(Pattern::MAX_LEN + 1),
            deep(20_000),
            long(60_000),
        ] {
            for error in errors(&client, &pattern).await {
                assert_eq!(error.code(), Code::InvalidArgument, "{error}");
                assert!(error.message().contains("4096 bytes and 128"), "{error}");
                assert!(error.message().len() < 300, "{error}");
            }
        }
        for error in errors(&client, &long(MAX_REQUEST_LEN + 1)).await {
            assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
        }
        let pattern = Some(long(16 << 20));
        let error = resolver.get_secrets(GetSecretsRequest { pattern }).await;
        let error = error.expect_err("refused");
        assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
        assert!(error.message().len() < 300, "{error}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn patterns_of_one_authorize_request_are_counted() {
    let daemon = start_behaving(&[]).await;
    for client in clients(&daemon) {
        let authorizer = AuthorizerServiceClient::from(client);
        let authorize = async |count: usize| {
            let patterns = (0..count).map(|n| format!("a/{n}")).collect();
            authorizer.authorize(AuthorizeRequest { patterns }).await
        };
        authorize(MAX_AUTHORIZE_PATTERNS).await.expect("allowed");
        for count in [MAX_AUTHORIZE_PATTERNS + 1, 5_000] {
            let error = authorize(count).await.expect_err("too many");
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            let text = format!("{count} patterns are too many to authorize at once");
            assert!(error.message().starts_with(&text), "{error}");
        }
        let error = authorize(100_000).await.expect_err("too large");
        assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
    }
    daemon.stop().await;
}
