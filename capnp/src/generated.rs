//! What `cargo xtask codegen` wrote from the schema.
