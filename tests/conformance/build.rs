//! Generates the suite's messages and its service.

fn main() -> Result<(), keyway_rpc_build::Error> {
    let folder = "proto/connectrpc/conformance/v1";
    let file = |name: &str| format!("{folder}/{name}.proto");
    keyway_rpc_build::configure()
        .json(keyway_rpc_build::Emit::Always)
        // The runs do not enable the suite's streaming methods.
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
