//! A plugin that calls its own daemon.

use keyway_local::Address;
use keyway_mux::Session;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::Player;
use crate::caller::{self, Reply};
use crate::script::{DaemonCall, Via};

/// The first argument that makes the process a caller in a session of its own.
pub(super) const IN_SESSION: &str = "call-in-session";

/// Makes all the calls and records `called VIA METHOD OUTCOME` for each.
pub(super) async fn all(player: &Player, session: &Session, calls: &[DaemonCall]) {
    for call in calls {
        let reply = match (call.via, &player.daemon) {
            (Via::Connection, _) => over_connection(session, call).await,
            (Via::Socket, Some(daemon)) => over_socket(daemon.clone(), call.clone()).await,
            (Via::Child, Some(daemon)) => by_child(caller::MODE, daemon, call).await,
            (Via::ChildInSession, Some(daemon)) => by_child(IN_SESSION, daemon, call).await,
            (_, None) => panic!("an external plugin of a test calls its daemon itself"),
        };
        let (via, method) = (call.via, &call.method);
        player.note(&format!("called {via:?} {method} {}", reply.outcome()));
    }
}

async fn over_connection(session: &Session, call: &DaemonCall) -> Reply {
    let mut stream = session.open().await.expect("a stream");
    let request = caller::request_bytes(&call.method, &call.argument);
    let mut response = Vec::new();
    let exchanged = async {
        stream.write_all(&request).await?;
        while !caller::is_complete(&response) && stream.read_buf(&mut response).await? > 0 {}
        std::io::Result::Ok(())
    };
    match exchanged.await {
        Ok(()) => caller::read_reply(&response),
        Err(_) => Reply::default(),
    }
}

async fn over_socket(daemon: Address, call: DaemonCall) -> Reply {
    // This thread serves the plugin meanwhile.
    tokio::task::spawn_blocking(move || caller::call(&daemon, &call.method, &call.argument))
        .await
        .expect("the caller does not panic")
}

async fn by_child(mode: &str, daemon: &Address, call: &DaemonCall) -> Reply {
    let output = Command::new("/proc/self/exe")
        .arg(mode)
        .arg(std::ffi::OsString::from(daemon.clone()))
        .args([&call.method, &call.argument])
        .output()
        .await
        .expect("a child");
    serde_json::from_slice(&output.stdout).expect("a reply")
}
