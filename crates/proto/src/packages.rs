//! The generated messages, a module for each package; `cargo xtask codegen` writes them from `proto/`.

macro_rules! package {
    ($(#[$doc:meta])* $name:ident, $file:literal) => {
        $(#[$doc])*
        pub mod $name {
            /// Version 1, the only one.
            #[allow(
                missing_docs,
                unused_qualifications,
                clippy::all,
                clippy::use_self,
                reason = "generated code"
            )]
            pub mod v1 {
                include!(concat!("generated/", $file));
            }
        }
    };
}

package! {
    /// Deciding who may read secrets; served by access-control plugins.
    accesscontrol, "accesscontrol.v1.rs"
}
package! {
    /// The daemon's version.
    health, "health.v1.rs"
}
package! {
    /// Keyway's own additions: listing without values, and managing a running daemon.
    keyway, "keyway.v1.rs"
}
package! {
    /// How plugins register, end, and are managed.
    plugins, "plugins.v1.rs"
}
package! {
    /// Asking for secrets, and what peers built before July 2026 call.
    resolver, "resolver.v1.rs"
}
