//! Root file systems of containers, from images on this machine's disk: OCI layouts and archives of `docker save`.
//!
//! ```text
//!   reference, digest   names                               source, pull   finding and reading an image
//!   manifest, config    what images say of themselves       layer          unpacking
//!   users               who an image's user is              store          what is kept, and until when
//!   provision           what the agent calls                overlay        a container's own root
//!   said                what nested containers find of it
//! ```

mod provision;
mod said;

pub mod config;
pub mod digest;
pub mod layer;
pub mod manifest;
pub mod overlay;
pub mod pull;
pub mod reference;
pub mod source;
pub mod store;
pub mod users;

pub use self::reference::Reference;
pub use provision::{ImageError, Images, Provided};
pub use said::Said;
