//! A daemon process for the tests that kill one. Arguments: its home, and the misbehaving plugin's executable; it has one plugin
//! with a helper process.

use keyway_runtime::{Config, Daemon};
use keyway_tests::Behaviour;
use keyway_tests::daemon::behave;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let home = std::path::PathBuf::from(std::env::args_os().nth(1).expect("a home"));
    let mut config = Config::new(home.join("daemon.sock").into(), home.join("state"));
    config.plugin_dirs = vec![home.join("plugins")];
    config.environment = std::env::vars_os().collect();
    behave(&mut config, "helped", Behaviour::StartHelper);
    let daemon = Daemon::bind(config).expect("the daemon listens");
    daemon.run(std::future::pending()).await;
}
