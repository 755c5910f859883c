//! What is planned, and how far it is: `/maintenance/schedule`, `/maintenance/status` and the operator API's two.

use crate::cluster::snapshot::Snapshot;
use api::convert::{maintenance, time};
use api::v1::allocator::{InverseOfferStatus, inverse_offer_status};
use api::v1::maintenance::{ClusterStatus, Schedule, cluster_status};

pub(super) fn schedule(snapshot: &Snapshot) -> Schedule {
    maintenance::schedule(model::maintenance::windows(&snapshot.machines))
}

/// Machines that are up are not in it.
pub(super) fn status(snapshot: &Snapshot) -> ClusterStatus {
    let mut status = ClusterStatus::default();
    for (id, it) in snapshot.machines.iter() {
        if it.is_down {
            status.down_machines.push(maintenance::machine(id));
            continue;
        }
        let answers = snapshot.inverse_answers.get(id).into_iter().flatten();
        let statuses = answers.map(|answer| {
            let mut status = InverseOfferStatus {
                framework_id: (&answer.framework_id).into(),
                timestamp: time::info(answer.at),
                ..InverseOfferStatus::default()
            };
            status.set_status(match answer.is_accepted {
                true => inverse_offer_status::Status::Accept,
                false => inverse_offer_status::Status::Decline,
            });
            status
        });
        let (id, statuses) = (maintenance::machine(id), statuses.collect());
        status.draining_machines.push(cluster_status::DrainingMachine { id, statuses });
    }
    status
}
