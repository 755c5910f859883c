//! Lists and maps that are rendered as they are walked: no copy of the cluster is made to show it.

use serde::{Serialize, Serializer};

/// A list: what `show` makes of each item that `iter` gives.
pub struct Each<F>(pub F);

impl<F, I> Serialize for Each<F>
where
    F: Fn() -> I,
    I: Iterator<Item: Serialize>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

/// An object, likewise from pairs.
pub struct Pairs<F>(pub F);

impl<F, I, K, V> Serialize for Pairs<F>
where
    F: Fn() -> I,
    I: Iterator<Item = (K, V)>,
    K: Serialize,
    V: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map((self.0)())
    }
}

/// `{}`
#[derive(Serialize)]
pub struct Nothing {}
