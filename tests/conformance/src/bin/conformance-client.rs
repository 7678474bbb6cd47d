//! See `keyway_conformance::client`.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    keyway_conformance::client::run().await
}
