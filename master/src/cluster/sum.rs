//! What a framework uses over all agents, kept as it changes: summing it up for every snapshot would cost more than all
//! else in it.

use model::resources::{Resource, Resources, Value};

/// Scalars add and subtract. Ranges and sets of different agents run together, so that what one gives back may still be
/// used on another: of those only the number of parts is kept, and who wants to see them unites them anew.
#[derive(Clone, Debug, Default)]
pub(super) struct Sum {
    scalars: Resources,
    other_count: usize,
}

fn is_scalar(part: &Resource) -> bool {
    matches!(part.value, Value::Scalar(_))
}

impl Sum {
    pub(super) fn add(&mut self, resources: &Resources) {
        for part in resources.iter() {
            if is_scalar(part) {
                self.scalars.add_part(part);
            } else {
                self.other_count += 1;
            }
        }
    }

    /// Takes out what was added before.
    pub(super) fn subtract(&mut self, resources: &Resources) {
        let scalars = resources.filter(is_scalar);
        self.other_count -= resources.iter().count() - scalars.iter().count();
        self.scalars = self.scalars.checked_sub(&scalars).expect("only what was added is taken out");
    }

    /// The whole, given everything that was added and not taken out.
    pub(super) fn whole<'a>(&self, parts: impl Iterator<Item = &'a Resources>) -> Resources {
        let mut whole = self.scalars.clone();
        if self.other_count > 0 {
            let others = parts.flat_map(Resources::iter).filter(|part| !is_scalar(part));
            others.for_each(|part| whole.add_part(part));
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_two_agents_have_is_used_until_both_give_it_back() {
        let r = |text: &str| text.parse::<Resources>().expect("resources");
        let (a, b) = (r("cpus:1;ports:[1-2]"), r("cpus:2;ports:[2-3]"));
        let mut sum = Sum::default();
        sum.add(&a);
        sum.add(&b);
        assert_eq!(sum.whole([&a, &b].into_iter()), r("cpus:3;ports:[1-3]"));
        sum.subtract(&a);
        assert_eq!(sum.whole([&b].into_iter()), b);
        sum.subtract(&b);
        assert!(sum.whole(std::iter::empty()).is_empty());
    }
}
