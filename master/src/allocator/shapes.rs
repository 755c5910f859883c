//! What agents have, each make of them once: most agents of a cluster are of a few makes, and equal totals are one value.

use super::parcel::{Parcel, Stock};
use std::sync::Arc;

/// Makes remembered; of a cluster with more, the latest.
const SHAPES_MAX: usize = 32;

/// The latest first.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    known: Vec<Stock>,
}

impl Shapes {
    /// The same parcel, shared with the others that have so much.
    pub(super) fn share(&mut self, parcel: Parcel) -> Stock {
        match self.known.iter().position(|known| **known == parcel) {
            Some(at) => self.known[..=at].rotate_right(1),
            None => {
                self.known.truncate(SHAPES_MAX - 1);
                self.known.insert(0, Arc::new(parcel));
            }
        }
        self.known[0].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_parcels_become_one_and_old_ones_are_forgotten() {
        let parcel = |cpus: usize| Parcel::from_resources(format!("cpus:{cpus}").parse().expect("resources"));
        let mut shapes = Shapes::default();
        let first = shapes.share(parcel(1));
        assert!(Arc::ptr_eq(&first, &shapes.share(parcel(1))));
        (2..=SHAPES_MAX).for_each(|cpus| drop(shapes.share(parcel(cpus))));
        assert!(Arc::ptr_eq(&first, &shapes.share(parcel(1))), "used again in time");
        (100..100 + SHAPES_MAX).for_each(|cpus| drop(shapes.share(parcel(cpus))));
        assert!(!Arc::ptr_eq(&first, &shapes.share(parcel(1))));
    }
}
