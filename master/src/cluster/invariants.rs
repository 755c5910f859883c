//! The laws of the cluster's books. Tests and the simulator check them after every input; they cost a walk over everything.

use super::Cluster;
use model::maintenance::MachineId;
use model::resources::Resources;
use std::sync::Arc;

impl Cluster {
    /// # Panics
    /// When a law is broken, naming it.
    pub fn check_invariants(&self) {
        self.invariant_used_is_the_sum_of_what_runs();
        self.invariant_offered_is_the_sum_of_the_offers();
        self.invariant_agents_and_frameworks_agree();
        self.invariant_sessions_and_streams_lead_back();
        self.invariant_lists_are_bounded();
        self.invariant_inverse_offers_are_asked();
        self.invariant_agents_know_their_machines();
    }

    fn invariant_used_is_the_sum_of_what_runs(&self) {
        for (id, agent) in self.agents.iter() {
            let mut sum = Resources::default();
            for (framework_id, task_id) in &agent.tasks {
                let framework = self.frameworks.get(framework_id).expect("a task's framework is known");
                let task = framework.tasks.get(task_id).expect("an agent's task is its framework's");
                if !task.state.is_terminal() {
                    sum.add(&task.info.resources);
                }
            }
            agent.executors.values().for_each(|executor| sum.add(&executor.info.resources));
            assert_eq!(agent.used, sum, "used on {id}");
            // An agent that came back smaller, or lends less, may run more than it has; what is offered is there beside that.
            let free = agent.total().saturating_sub(&agent.used.unallocated());
            let offered = agent.offered.unallocated();
            assert!(free.contains(&offered), "{id} has {free} that is not used, and {offered} is offered");
        }
    }

    fn invariant_offered_is_the_sum_of_the_offers(&self) {
        let mut count = 0;
        for (id, agent) in self.agents.iter() {
            let mut sum = Resources::default();
            for (offer_id, offer) in &agent.offers {
                assert!(self.offers.get(offer_id).is_some_and(|known| Arc::ptr_eq(offer, known)));
                let framework =
                    self.frameworks.get(&offer.framework_id).expect("an offer's framework is known");
                assert!(framework.offers.contains_key(offer_id), "{offer_id} is its framework's");
                assert!(framework.stream.is_some(), "{offer_id} is a connected framework's");
                sum.add(&offer.resources);
                count += 1;
            }
            assert!(
                agent.offers.is_empty() || agent.session.is_some(),
                "{id} is connected while it is offered"
            );
            assert_eq!(agent.offered, sum, "offered of {id}");
        }
        assert_eq!(self.offers.len(), count, "every offer is some agent's");
        let theirs: usize = self.frameworks.iter().map(|(_, framework)| framework.offers.len()).sum();
        assert_eq!(theirs, count, "every framework's offer stands");
    }

    fn invariant_agents_and_frameworks_agree(&self) {
        for (id, framework) in self.frameworks.iter() {
            let mut sum = Resources::default();
            framework.running().for_each(|resources| sum.add(resources));
            assert_eq!(framework.used.whole(framework.running()), sum, "used by {id}");
            for (task_id, task) in &framework.tasks {
                assert_eq!((&task.framework_id, &task.info.task_id), (id, task_id));
                let agent = self.agents.get(&task.info.agent_id).expect("a task's agent is registered");
                assert!(agent.tasks.contains(&(id.clone(), task_id.clone())), "{task_id} is its agent's");
            }
            for ((agent_id, executor_id), executor) in &framework.executors {
                let agent = self.agents.get(agent_id).expect("an executor's agent is registered");
                let theirs = &agent.executors[&(id.clone(), executor_id.clone())];
                assert!(Arc::ptr_eq(executor, theirs), "{executor_id} is one and the same");
            }
        }
        let executors = |count: usize, (_, agent): (_, &super::agents::Agent)| count + agent.executors.len();
        let here: usize = self.agents.iter().fold(0, executors);
        let there: usize = self.frameworks.iter().map(|(_, framework)| framework.executors.len()).sum();
        assert_eq!(here, there, "every executor is its framework's");
    }

    fn invariant_sessions_and_streams_lead_back(&self) {
        for (session, id) in &self.sessions {
            assert_eq!(self.agents.get(id).and_then(|agent| agent.session), Some(*session));
        }
        let connected = self.agents.iter().filter(|(_, agent)| agent.session.is_some()).count();
        assert_eq!(connected, self.sessions.len());
        for (stream, id) in &self.streams {
            assert_eq!(self.frameworks.get(id).and_then(|framework| framework.stream.as_ref()), Some(stream));
        }
        let connected = self.frameworks.iter().filter(|(_, framework)| framework.stream.is_some()).count();
        assert_eq!(connected, self.streams.len());
    }

    fn invariant_agents_know_their_machines(&self) {
        for (id, agent) in self.agents.iter() {
            let machine = self.maintenance.machines().get(&MachineId::of(&agent.info));
            assert!(machine.is_none_or(|it| !it.is_down), "{id} is on a machine that is down");
            assert_eq!(agent.unavailability, machine.map(|it| it.unavailability), "{id}");
            assert_eq!(self.maintenance.agents().contains(id), machine.is_some(), "{id}");
        }
        assert!(self.maintenance.agents().iter().all(|id| self.agents.contains(id)));
    }

    fn invariant_lists_are_bounded(&self) {
        assert!(self.completed.len() <= self.settings.max_completed_frameworks);
        for (_, framework) in self.frameworks.iter() {
            assert!(framework.completed.len() <= self.settings.max_completed_tasks_per_framework);
            assert!(framework.unreachable.len() <= self.settings.max_unreachable_tasks_per_framework);
        }
    }
}
