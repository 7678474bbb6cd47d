//! See `keyway_conformance::server`.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    keyway_conformance::server::run().await
}
