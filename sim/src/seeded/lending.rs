//! What agents lend: their estimates change, and what is on loan is taken back. Estimates are as good as random here; what makes
//! good ones is tried elsewhere.

use super::world::{Happening, World};
use ingot_agent::node::input::Input;
use model::id::ContainerId;
use model::quantity::Quantity;
use model::resources::{CPUS, MEM, Resource, Resources};

impl World {
    /// The agent's estimator has come to another conclusion, as it does until the storm is over: in the calm nothing is lent.
    pub(super) fn estimate(&mut self, at: usize) {
        if !self.is_stormy() {
            return self.tell_node(at, Input::Oversubscribed { total: Resources::default() });
        }
        // Now and then nothing at all.
        let cpus = Quantity::from_milli(self.rng.u64(0..4) * self.rng.u64(0..1_000));
        let mem = Quantity::from_units(self.rng.u64(0..3) * 64);
        let total: Resources =
            [Resource::scalar(CPUS, cpus), Resource::scalar(MEM, mem)].into_iter().collect();
        self.trace(|| format!("node-{at} may lend {total}"));
        self.tell_node(at, Input::Oversubscribed { total });
        if self.rng.u8(..4) == 0 {
            self.preempt_somebody(at);
        }
        self.soon(500, 5_000, Happening::Estimate(at));
    }

    /// The chosen one may have nothing on loan: then nothing becomes of it.
    fn preempt_somebody(&mut self, at: usize) {
        let containers: Vec<ContainerId> = self.machines[at].executors.keys().cloned().collect();
        if let Some(container_id) = self.rng.choice(containers) {
            self.tell_node(at, Input::Preempt { container_id, cause: "needed".into() });
        }
    }
}
