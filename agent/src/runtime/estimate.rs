//! What may be lent out: the estimator is told what each look at the containers found, and the node what it says of it.

use crate::containerizer::limits::lent_cpus_milli;
use crate::estimator::core::{Effect, Input as Told, Machine, Sample};
use crate::node::input::Input;
use crate::runtime::Agent;
use model::quantity::Quantity;
use model::resources::{CPUS, MEM, Resource, Resources, Value};
use model::time::UnixTime;
use model::usage::Source;
use std::rc::Rc;
use std::time::Duration;

const MIB: u64 = 1 << 20;
/// How often it is seen whether looks still come, when nothing else has to be.
const WATCH: Duration = Duration::from_secs(1);

impl Agent {
    /// After a look; `looked` is what it has marked those with that it could look at.
    pub(super) fn estimate(self: &Rc<Self>, looked: UnixTime) {
        let samples = self.estimator_samples(looked);
        let total = self.look(|node| node.info().total.clone());
        let machine =
            Machine { cpus_milli: total.scalar(CPUS).milli(), memory_bytes: bytes(total.scalar(MEM)) };
        let mut effects = Vec::new();
        let told = Told::Look { machine, samples: &samples };
        self.estimator.borrow_mut().handle(self.now().time, told, &mut effects);
        self.tell_estimates(effects);
    }

    /// Sees to it that what is known is not offered for ever when looks stop: a look may wait for a disk. For ever.
    pub(super) async fn keep_estimate_fresh(self: Rc<Self>) {
        let mut tick = tokio::time::interval(WATCH);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let now = self.now().time;
            let mut effects = Vec::new();
            if self.estimator.borrow().deadline().is_some_and(|at| at <= now) {
                self.estimator.borrow_mut().expire(now, &mut effects);
            }
            self.tell_estimates(effects);
        }
    }

    fn estimator_samples(&self, looked: UnixTime) -> Vec<Sample> {
        let containers = self.containers.borrow();
        let sample =
            |(container_id, container): (&model::id::ContainerId, &Rc<super::containers::Container>)| {
                let shares = self.shares(container_id);
                if shares.is_empty() {
                    return None;
                }
                let parts = shares.iter().flat_map(|share| share.resources.iter());
                let firm: Resources = parts.filter(|part| !part.is_revocable).cloned().collect();
                let usage = container.account.borrow().usage;
                let is_seen = container.looked.get() == Some(looked);
                let told =
                    |source: Source, figure: u64| (is_seen && source != Source::None).then_some(figure);
                Some(Sample {
                    container_id: container_id.clone(),
                    is_revocable: lent_cpus_milli(&shares).is_some_and(|milli| milli > 0),
                    cpus_milli: firm.scalar(CPUS).milli(),
                    memory_limit_bytes: bytes(firm.scalar(MEM)),
                    cpu_ns: told(usage.sources.cpu, usage.cpu_ns),
                    memory_bytes: told(usage.sources.memory, usage.memory_working_set_bytes),
                })
            };
        containers.iter().filter_map(sample).collect()
    }

    fn tell_estimates(self: &Rc<Self>, effects: Vec<Effect>) {
        for Effect::Send(estimate) in effects {
            let amount = |name: &str, amount: Quantity| Resource::new(name, Value::Scalar(amount));
            let cpus = Quantity::from_milli(estimate.cpus_milli);
            // Whole MiB, as everything that is offered.
            let memory = Quantity::from_units(estimate.memory_bytes / MIB);
            let parts = [amount(CPUS, cpus), amount(MEM, memory)];
            let total: Resources =
                parts.into_iter().filter(|part| part.value != Value::Scalar(Quantity::ZERO)).collect();
            tracing::info!(
                cpus_milli = estimate.cpus_milli,
                memory_bytes = estimate.memory_bytes,
                cpus_peak_milli = self.estimator.borrow().cpus_peak(),
                "what may be lent out has changed"
            );
            self.input(Input::Oversubscribed { total });
        }
    }
}

fn bytes(memory: Quantity) -> u64 {
    (u128::from(memory.milli()) * u128::from(MIB) / 1000) as u64
}
