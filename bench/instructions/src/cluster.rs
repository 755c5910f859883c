//! A cluster as the allocator's core sees it: agents of one make, frameworks of one role each, and what is held.

use crate::allocator::core::Core;
use crate::allocator::event::{Allocation, Claims, Event, Refusal};
use crate::allocator::key::{AgentKey, FrameworkKey, KeyPool};
use model::framework::Capabilities;
use model::quantity::Quantity;
use model::quota::{Amounts, Quota};
use model::resources::Resources;
use model::role::Role;
use model::time::Time;

/// What an agent has in Mesos' benchmark.
const TOTAL: &str = "cpus:24;mem:4096;disk:4096;ports:[31000-32000]";

/// Two thirds of an agent, its ports in pieces.
const USED: &str = "cpus:16;mem:2730;disk:2730;ports:[31000-31015, 31050-31060, 31100-31110, 31150-31160, \
    31200-31210, 31250-31260, 31300-31310, 31350-31360]";

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Roles {
    /// All in `*`.
    Star,
    OneEach,
    /// Ten departments of ten teams, a role each in them; every department is guaranteed something and limited to more
    /// than it comes to.
    TreeWithQuota,
}

impl Roles {
    fn role(self, at: u32) -> Role {
        let name = match self {
            Self::Star => "*".to_owned(),
            Self::OneEach => format!("role-{at}"),
            Self::TreeWithQuota => format!("department-{}/team-{}/role-{at}", at % 10, at / 10 % 10),
        };
        Role::parse(&name).expect("a role")
    }
}

pub(crate) struct Cluster {
    core: Core,
    roles: Roles,
    now: Time,
    agents: KeyPool<AgentKey>,
    framework_keys: KeyPool<FrameworkKey>,
    frameworks: Vec<(FrameworkKey, Role)>,
    total: Resources,
    held: Vec<Allocation>,
    /// Where the next release is picked.
    turn: usize,
}

impl Cluster {
    pub(crate) fn new(roles: Roles) -> Self {
        let mut cluster = Self {
            core: Core::default(),
            roles,
            now: Time(1),
            agents: KeyPool::default(),
            framework_keys: KeyPool::default(),
            frameworks: Vec::new(),
            total: TOTAL.parse().expect("resources"),
            held: Vec::new(),
            turn: 0,
        };
        if roles == Roles::TreeWithQuota {
            (0..10).for_each(|at| cluster.set_quota(at));
        }
        cluster
    }

    /// With all of it offered to somebody.
    pub(crate) fn full(roles: Roles, agent_count: u32, framework_count: u32) -> Self {
        let mut cluster = Self::new(roles);
        cluster.add_agents(agent_count);
        cluster.add_frameworks(framework_count, true);
        cluster.revive_all();
        cluster
    }

    pub(crate) fn held_count(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn add_agents(&mut self, count: u32) {
        for _ in 0..count {
            let agent = self.agents.take();
            self.handle(Event::AddAgent { agent, total: self.total.clone(), used: Vec::new() });
        }
    }

    pub(crate) fn add_used_agents(&mut self, count: u32) {
        let used: Resources = USED.parse().expect("resources");
        for _ in 0..count {
            let agent = self.agents.take();
            let (framework, role) = &self.frameworks[agent.index as usize % self.frameworks.len()];
            let used = vec![(*framework, used.allocated_to(role))];
            self.handle(Event::AddAgent { agent, total: self.total.clone(), used });
        }
    }

    pub(crate) fn add_frameworks(&mut self, count: u32, is_suppressed: bool) {
        for _ in 0..count {
            let framework = self.framework_keys.take();
            let role = self.roles.role(framework.index);
            self.frameworks.push((framework, role.clone()));
            let suppressed = if is_suppressed { vec![role.clone()] } else { Vec::new() };
            let capabilities = Capabilities::MULTI_ROLE;
            let info = Claims { roles: vec![role], suppressed, capabilities, ..Claims::default() };
            self.handle(Event::AddFramework { framework, info, is_active: true });
        }
    }

    /// All at once, decided together: a full cycle.
    pub(crate) fn revive_all(&mut self) {
        for (framework, _) in &self.frameworks {
            self.core.apply(self.now, Event::Revive { framework: *framework, roles: Vec::new() });
        }
        self.core.settle(self.now, &mut self.held);
    }

    /// All that is held comes back, decided together.
    pub(crate) fn release_all(&mut self, refusal: Refusal) {
        for Allocation { framework, agent, resources, .. } in std::mem::take(&mut self.held) {
            self.core.apply(self.now, Event::Release { framework, agent, resources, refusal });
        }
        self.core.settle(self.now, &mut self.held);
    }

    /// One of what is held, here and there.
    pub(crate) fn release_one(&mut self, refusal: Refusal) {
        self.turn = (self.turn + 617) % self.held.len();
        let Allocation { framework, agent, resources, .. } = self.held.swap_remove(self.turn);
        self.handle(Event::Release { framework, agent, resources, refusal });
    }

    pub(crate) fn cycle(&mut self) {
        self.core.cycle(self.now, &mut self.held);
    }

    fn handle(&mut self, event: Event) {
        self.now = self.now.plus_ns(1000);
        self.core.handle(self.now, event, &mut self.held);
    }

    fn set_quota(&mut self, department: u32) {
        let role = Role::parse(&format!("department-{department}")).expect("a role");
        let amounts = |cpus| Amounts::from_iter([("cpus".into(), Quantity::from_units(cpus))]);
        let quota = Quota { guarantees: amounts(100), limits: amounts(24_000) };
        self.handle(Event::SetQuota { role, quota });
    }
}
