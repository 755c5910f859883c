//! Which persistent volumes come and go with what the agent is told to have.

use api::convert::volume;
use model::resources::{Resource, Resources};
use std::path::PathBuf;

/// What has become of the volumes of an agent that had something else before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Below the folder of all volumes.
    pub made: Vec<PathBuf>,
    pub gone: Vec<PathBuf>,
}

impl Changes {
    pub(super) fn between(before: &Resources, after: &Resources) -> Self {
        let folders = |resources: &Resources| -> Vec<PathBuf> {
            let is_volume = |part: &&Resource| volume::of(part).is_some();
            resources.iter().filter(is_volume).filter_map(volume::folder).collect()
        };
        let (before, after) = (folders(before), folders(after));
        let without = |these: &[PathBuf], those: &[PathBuf]| -> Vec<PathBuf> {
            these.iter().filter(|it| !those.contains(it)).cloned().collect()
        };
        Self { made: without(&after, &before), gone: without(&before, &after) }
    }

    pub fn is_empty(&self) -> bool {
        self.made.is_empty() && self.gone.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::effect::Record;
    use crate::node::world::World;
    use model::resources::Reservation;
    use model::role::Role;
    use wire::message::ToAgent;

    #[test]
    fn what_one_master_said_is_told_the_next_one_though_it_is_not_on_disk_yet() {
        let mut world = World::registered(false);
        world.flush();
        let reserved = |part: &Resource| {
            let mut part = part.clone();
            part.reservations.push(Reservation {
                role: Role::parse("eng").expect("a role"),
                is_dynamic: true,
                principal: None,
                labels: Vec::new(),
            });
            part
        };
        let total: Resources = world.node.info().total.iter().map(reserved).collect();
        world.say(ToAgent::UpdateTotal { total: total.clone() });
        world.lose_link();
        assert_eq!(world.node.info().total, total, "which is what it introduces itself with");
        world.connect();
        world.flush();
        let agents = world.disk.iter().filter_map(|record| match record {
            Record::Agent { info, .. } => Some(&info.total),
            _ => None,
        });
        assert_eq!(agents.last(), Some(&total));
    }
}
