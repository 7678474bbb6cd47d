//! Generates messages, the service's trait, its server and its client; no `protoc` is needed.

use keyway_rpc_build::Emit;

fn main() -> Result<(), keyway_rpc_build::Error> {
    keyway_rpc_build::configure()
        // `curl` and browsers speak JSON.
        .json(Emit::IfFeature("json".to_owned()))
        // Nobody's diary belongs into a log.
        .redact(["greet.v1.GreetRequest.diary"])
        .compile(&["proto/greet/v1/greet.proto"], &["proto"])
}
