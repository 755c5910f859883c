//! Offer constraints as they were asked for. What they mean is decided where they are compiled.

use super::{Error, body, open};
use crate::v1::scheduler::OfferConstraints;
use model::body::Body;

pub fn body_of(constraints: &OfferConstraints) -> Body {
    body(constraints)
}

/// Without any for a body that is empty.
pub fn to_v1(body: &Body) -> Result<OfferConstraints, Error> {
    open(body)
}
