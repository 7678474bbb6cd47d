//! See `keyway_conformance::server`.

use keyway_conformance::Network;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let network = Network::from_arguments(std::env::args().skip(1))?;
    keyway_conformance::server::run(network).await
}
