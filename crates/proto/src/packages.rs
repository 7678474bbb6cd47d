//! The generated messages, a module for each package; `cargo xtask codegen` writes them from `proto/`.

macro_rules! package {
    ($(#[$doc:meta])* $name:ident, $file:literal $(, $within:item)?) => {
        $(#[$doc])*
        pub mod $name {
            $($within)?
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
    /// Access control, served by access-control modules.
    accesscontrol, "accesscontrol.v1.rs"
}
package! {
    /// The daemon's version.
    health, "health.v1.rs"
}
package! {
    /// Keyway's extensions: listing without values, and management of a running daemon.
    keyway, "keyway.v1.rs",
    package! {
        /// Writing of secrets and their versions, served by the daemon and by plugins that store.
        store, "keyway.store.v1.rs"
    }
}
package! {
    /// Registration, shutdown and management of plugins.
    plugins, "plugins.v1.rs"
}
package! {
    /// Queries for secrets, and the services of peers built before July 2026.
    resolver, "resolver.v1.rs"
}
