//! Generates the messages, the service's trait, its server and its client, without `protoc`.

use keyway_rpc_build::Emit;

fn main() -> Result<(), keyway_rpc_build::Error> {
    keyway_rpc_build::configure()
        // For `curl` and browsers.
        .json(Emit::IfFeature("json".to_owned()))
        // Keeps the diary out of logs.
        .redact(["greet.v1.GreetRequest.diary"])
        .compile(&["proto/greet/v1/greet.proto"], &["proto"])
}
