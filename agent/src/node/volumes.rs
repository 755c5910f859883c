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
    fn what_one_master_said_is_kept_though_another_admits_the_agent_before_it_is_on_disk() {
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
        world.leader = "M2";
        world.lose_link();
        world.connect();
        world.flush();
        let agents = world.disk.iter().filter_map(|record| match record {
            Record::Agent { info, master_id, .. } => Some((master_id.as_str(), &info.total)),
            _ => None,
        });
        assert_eq!(agents.last(), Some(("M2", &total)));
    }
}
