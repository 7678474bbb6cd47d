//! Code generation for keyway-rpc: prost messages, service traits and clients without protoc.
