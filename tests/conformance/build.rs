//! Generates the suite's messages and its service.

fn main() -> Result<(), keyway_rpc_build::Error> {
    let folder = "proto/connectrpc/conformance/v1";
    let file = |name: &str| format!("{folder}/{name}.proto");
    keyway_rpc_build::configure()
        .json(keyway_rpc_build::Emit::Always)
        // The suite's streaming methods belong to runs that ask for them.
        .skip_streaming(true)
        .compile(
            &[
                file("client_compat"),
                file("server_compat"),
                file("service"),
            ],
            &["proto"],
        )
}
