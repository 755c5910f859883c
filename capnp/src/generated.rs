//! What `cargo xtask codegen` wrote from `schema/`. Nothing here is edited by hand, so nothing here is linted.
#![allow(
    clippy::all,
    clippy::unwrap_used,
    dead_code,
    elided_lifetimes_in_paths,
    unreachable_pub,
    reason = "generated"
)]

macro_rules! generated {
    ($($name:ident)*) => {$(
        pub(crate) mod $name {
            include!(concat!(env!("CARGO_MANIFEST_DIR"), "/generated/", stringify!($name), ".rs"));
        }
    )*};
}

generated! { agent_capnp checkpoint_capnp common_capnp registry_capnp report_capnp }
