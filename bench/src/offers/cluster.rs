//! A cluster as the allocator's core sees it, and what is held in it.

use super::{Arguments, Roles, TOTAL, quotas};
use ingot_master::allocator::crew::{Member, crew};
use ingot_master::allocator::event::{Allocation, Claims, Event, Refusal};
use ingot_master::allocator::key::{AgentKey, FrameworkKey, KeyPool};
use ingot_master::allocator::options::Options;
use model::resources::Resources;
use model::role::Role;
use model::time::Time;

/// Two thirds of an agent, its ports in pieces.
const USED: &str = "cpus:16;mem:2730;disk:2730;ports:[31000-31015, 31050-31060, 31100-31110, 31150-31160, \
    31200-31210, 31250-31260, 31300-31310, 31350-31360, 31400-31410, 31450-31460, 31500-31510, 31550-31560, \
    31600-31610, 31650-31660, 31700-31710, 31750-31760]";

pub(crate) struct Cluster {
    member: Member,
    roles: Roles,
    now: Time,
    agents: KeyPool<AgentKey>,
    framework_keys: KeyPool<FrameworkKey>,
    frameworks: Vec<(FrameworkKey, Role)>,
    total: Resources,
    used: Resources,
    /// Offered or in use, in the order of allocation.
    pub(crate) held: Vec<Allocation>,
    /// For picking: the same picks in every run.
    seed: u64,
}

impl Cluster {
    /// With the quotas of its roles, and nobody in it.
    pub(crate) fn new(arguments: &Arguments) -> Self {
        let mut cluster = Self::of(crew(Options::default(), 1).pop().expect("one"), arguments.roles);
        quotas(arguments).into_iter().for_each(|event| cluster.handle(event));
        cluster
    }

    /// Of one worker of several; without quotas.
    pub(crate) fn of(member: Member, roles: Roles) -> Self {
        Self {
            member,
            roles,
            now: Time(1),
            agents: KeyPool::default(),
            framework_keys: KeyPool::default(),
            frameworks: Vec::new(),
            total: TOTAL.parse().expect("resources"),
            used: USED.parse().expect("resources"),
            held: Vec::new(),
            seed: 0x9e37_79b9_7f4a_7c15,
        }
    }

    pub(crate) fn handle(&mut self, event: Event) {
        self.now = self.now.plus_ns(1000);
        self.member.core.handle(self.now, event, &mut self.held);
    }

    /// Tells the other workers what was given, and hears what they gave.
    pub(crate) fn exchange(&mut self) {
        if self.member.hear() {
            self.member.core.settle(self.now, &mut self.held);
        }
        self.member.tell();
    }

    pub(crate) fn add_agent(&mut self) {
        let agent = self.agents.take();
        self.handle(Event::AddAgent { agent, total: self.total.clone(), used: Vec::new() });
    }

    pub(crate) fn add_used_agent(&mut self) {
        let agent = self.agents.take();
        let (framework, role) = &self.frameworks[agent.index as usize % self.frameworks.len()];
        let used = vec![(*framework, self.used.allocated_to(role))];
        self.handle(Event::AddAgent { agent, total: self.total.clone(), used });
    }

    pub(crate) fn add_framework(&mut self, is_suppressed: bool) {
        let (framework, role) = self.new_framework();
        let suppressed = if is_suppressed { vec![role.clone()] } else { Vec::new() };
        let info = Claims { roles: vec![role], suppressed, ..Claims::default() };
        self.handle(Event::AddFramework { framework, info, is_active: true });
    }

    fn new_framework(&mut self) -> (FrameworkKey, Role) {
        let framework = self.framework_keys.take();
        let role = self.roles.role(self.frameworks.len());
        self.frameworks.push((framework, role.clone()));
        (framework, role)
    }

    /// All at once, decided together: a full cycle.
    pub(crate) fn revive_all(&mut self) {
        for (framework, _) in &self.frameworks {
            self.member.core.apply(self.now, Event::Revive { framework: *framework, roles: Vec::new() });
        }
        self.member.core.settle(self.now, &mut self.held);
    }

    /// Everything held comes back at once, decided together.
    pub(crate) fn release_all(&mut self, refusal: Refusal) {
        for Allocation { framework, agent, resources, .. } in std::mem::take(&mut self.held) {
            self.member.core.apply(self.now, Event::Release { framework, agent, resources, refusal });
        }
        self.member.core.settle(self.now, &mut self.held);
    }

    /// Has everybody asked about every agent that has something free.
    pub(crate) fn cycle(&mut self) {
        self.member.core.cycle(self.now, &mut self.held);
    }

    /// All that is held.
    pub(crate) fn held_resources(&self) -> impl Iterator<Item = &Resources> {
        self.held.iter().map(|allocation| &allocation.resources)
    }

    /// Refusals in force.
    pub(crate) fn refusal_count(&self) -> usize {
        self.member.core.refusal_count()
    }

    /// What they take.
    pub(crate) fn refusal_bytes(&self) -> usize {
        self.member.core.refusal_bytes()
    }

    /// Takes one of what is held, at random.
    pub(crate) fn pick_release(&mut self, refusal: Refusal) -> Event {
        // xorshift64*: good enough to touch memory in no order.
        self.seed ^= self.seed >> 12;
        self.seed ^= self.seed << 25;
        self.seed ^= self.seed >> 27;
        let at = self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) % self.held.len() as u64;
        let Allocation { framework, agent, resources, .. } = self.held.swap_remove(at as usize);
        Event::Release { framework, agent, resources, refusal }
    }

    /// Takes so many, or as many as there are.
    pub(crate) fn take_releases(&mut self, count: usize, refusal: Refusal) -> Vec<Event> {
        let count = count.min(self.held.len());
        (0..count).map(|_| self.pick_release(refusal)).collect()
    }
}
