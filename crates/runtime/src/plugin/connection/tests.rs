//! The end of a connection, as its owner reports it.

use keyway_http::Exchange;
use keyway_rpc::client::Client;
use tokio::io::{DuplexStream, copy_bidirectional};
use tokio::sync::Notify;

use super::*;
use crate::plugin::testing::{open_options, settings};

/// A plugin that has registered.
struct Plugin {
    /// The daemon's end.
    connection: PluginConnection,
    session: Session,
    /// Carries the bytes between the two.
    carrier: OwnedTask<()>,
    /// Ends that, while neither end closes.
    stall: Arc<Notify>,
}

async fn connected() -> Plugin {
    let (near, mut near_end) = tokio::io::duplex(1 << 16);
    let (mut far_end, far): (DuplexStream, DuplexStream) = tokio::io::duplex(1 << 16);
    let stall = Arc::new(Notify::new());
    let stalled = Arc::clone(&stall);
    let carrier = OwnedTask::spawn(async move {
        tokio::select! {
            // The ends close when one of them has closed.
            _ = copy_bidirectional(&mut near_end, &mut far_end) => {}
            () = stalled.notified() => pending().await,
        }
    });
    let (session, driver) = Session::client(far, keyway_mux::Config::default());
    tokio::spawn(driver);
    let exchange = Exchange::new(keyway_mux::Connector::new(session.clone()));
    let client = plugins::RegisterServiceClient::from(Client::new(exchange));
    let register = tokio::spawn(async move {
        use plugins::register_plugin_request::Metadata;
        let provider = plugins::SecretsProvider {
            pattern: Some("vault/**".into()),
        };
        let request = Request::new(plugins::RegisterPluginRequest {
            name: Some("vault".into()),
            version: Some("v1".into()),
            metadata: Some(Metadata::SecretsProvider(provider)),
        });
        client.register_plugin(request).await
    });
    let registrant = open(near, open_options()).await.expect("a registration");
    let name = registrant.registration().name.clone();
    let connection = registrant.accept(&settings("").plugin(&name), "v1.0.0");
    let response = register.await.expect("no panic");
    response.expect("accepted");
    Plugin {
        connection,
        session,
        carrier,
        stall,
    }
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_sent_goaway_is_leaving() {
    let mut plugin = connected().await;
    plugin.session.go_away();
    assert_eq!(
        plugin.connection.ended().await,
        "shutdown announced by the plugin"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_closes_is_closed() {
    let mut plugin = connected().await;
    drop(plugin.carrier);
    assert_eq!(
        plugin.connection.ended().await,
        "connection closed by the plugin"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stopped_plugin_is_not_reported_as_leaving() {
    let mut plugin = connected().await;
    plugin.stall.notify_one();
    let reason = plugin.connection.ended().await;
    assert!(reason.starts_with("connection failed: "), "{reason}");
}

#[tokio::test]
async fn a_plugin_may_call_get_version() {
    use keyway_proto::health::v1 as health;
    let plugin = connected().await;
    let exchange = Exchange::new(keyway_mux::Connector::new(plugin.session.clone()));
    let client = health::VersionServiceClient::from(Client::new(exchange));
    let response = client
        .get_version(health::GetVersionRequest {})
        .await
        .expect("a version");
    assert_eq!(response.message().version(), "v1.0.0");
}
