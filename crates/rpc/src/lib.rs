//! Connect RPC (unary) for prost over any tower service.
