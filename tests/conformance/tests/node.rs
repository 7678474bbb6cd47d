//! The stock Connect clients of Node and of browsers against the suite's service.

mod stock;

use std::future::Future;

use anyhow::{Context, Result, ensure};
use keyway_conformance::server;
use tokio::net::TcpListener;
use tokio::process::Command;

/// Runs the stock clients against a server, with `more` arguments.
async fn run<S>(
    serve: impl FnOnce(TcpListener) -> S,
    more: &[&str],
    transports: usize,
) -> Result<()>
where
    S: Future<Output = ()> + Send + 'static,
{
    let Some(folder) = stock::node()? else {
        return Ok(());
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let serving = tokio::spawn(serve(listener));
    let mut client = Command::new("node");
    client
        .args(["client.mjs", &url, server::DESCRIPTORS_PATH])
        .args(more)
        .current_dir(folder)
        .kill_on_drop(true);
    let output = client.output().await.context("starting node")?;
    serving.abort();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    ensure!(output.status.success(), "{stdout}\n{stderr}");
    let passed = stdout
        .lines()
        .filter(|line| line.ends_with("7 cases passed"))
        .count();
    ensure!(
        passed == transports,
        "all cases over {transports} transports: {stdout}"
    );
    Ok(())
}

#[tokio::test]
async fn stock_clients_of_node_and_browsers_understand_the_server() -> Result<()> {
    run(server::serve_listener, &[], 6).await
}

/// Most stock clients keep their connections, which tests keep-alive of this workspace's own server.
#[tokio::test]
async fn stock_clients_understand_the_http1_server_as_well() -> Result<()> {
    run(server::serve_listener_http1, &["1.1"], 4).await
}
