//! The allocator's core against a slow, simple reference: the same random histories, every decision compared, every
//! law checked after every event. And its promises, one by one.
#![expect(clippy::unwrap_used, reason = "a test that meets what it did not expect should end there")]

mod constraints;
mod pathologies;
mod promises;
mod quota;
mod reference;
mod revocable;

use master::allocator::core::Core;
use master::allocator::event::{Allocation, Claims, Event, Refusal};
use master::allocator::key::{AgentKey, FrameworkKey, KeyPool};
use model::framework::Capabilities;
use model::quantity::Quantity;
use model::quota::Quota;
use model::resources::{Resource, Resources};
use model::role::Role;
use model::time::Time;
use proptest::prelude::*;
use reference::{Reference, revocable};
use std::collections::BTreeMap;

/// Something that can happen; numbers pick among what there is at that point of the history.
#[derive(Clone, Debug)]
enum Step {
    AddAgent {
        shape: usize,
        is_in_use: bool,
    },
    UpdateAgent {
        pick: usize,
        shape: usize,
    },
    DescribeAgent {
        pick: usize,
        rack: usize,
    },
    /// It lends so many CPUs from here on.
    Estimate {
        pick: usize,
        cpus: u64,
    },
    RemoveAgent {
        pick: usize,
    },
    SetAgentActive {
        pick: usize,
        is_active: bool,
    },
    AddFramework {
        claims: Claims,
        is_active: bool,
    },
    UpdateFramework {
        pick: usize,
        claims: Claims,
    },
    RemoveFramework {
        pick: usize,
    },
    SetFrameworkActive {
        pick: usize,
        is_active: bool,
    },
    Release {
        pick: usize,
        is_half: bool,
        refusal: Refusal,
    },
    Suppress {
        pick: usize,
        roles: Vec<Role>,
    },
    Revive {
        pick: usize,
        roles: Vec<Role>,
    },
    SetWeight {
        role: Role,
        weight_milli: u64,
    },
    /// Of no history that is compared: the reference knows no quota.
    SetQuota {
        role: Role,
        quota: Quota,
    },
    Wait {
        us: u64,
    },
    WaitForDeadline,
}

const ROLES: [&str; 6] = ["*", "eng", "eng/web", "eng/db", "ops", "ops/night/shift"];

fn role() -> impl Strategy<Value = Role> {
    proptest::sample::select(&ROLES[..]).prop_map(|role| Role::parse(role).unwrap())
}

fn some_roles() -> impl Strategy<Value = Vec<Role>> {
    proptest::collection::btree_set(role(), 0..3).prop_map(|roles| roles.into_iter().collect())
}

fn claims() -> impl Strategy<Value = Claims> {
    let roles = proptest::collection::btree_set(role(), 1..4);
    let constrained = proptest::option::weighted(0.3, (role(), 0..constraints::RACKS));
    (roles, some_roles(), any::<bool>(), any::<bool>(), any::<bool>(), constrained).prop_map(
        |(roles, suppressed, is_shy, can_gpus, can_revocable, constrained)| {
            let suppressed = suppressed.into_iter().filter(|role| is_shy && roles.contains(role)).collect();
            let mut capabilities = Capabilities::MULTI_ROLE;
            for (can, capability) in
                [(can_gpus, Capabilities::GPU_RESOURCES), (can_revocable, Capabilities::REVOCABLE_RESOURCES)]
            {
                capabilities = if can { capabilities.with(capability) } else { capabilities };
            }
            let constrained = constrained.filter(|(role, _)| roles.contains(role));
            let constraints = constrained.map(|(role, rack)| constraints::only(&role, rack));
            Claims { roles: roles.into_iter().collect(), suppressed, capabilities, constraints }
        },
    )
}

fn refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        3 => Just(Refusal::None),
        3 => Just(Refusal::Pass),
        1 => Just(Refusal::For { ns: 0 }),
        3 => (1u64..50).prop_map(|ms| Refusal::For { ns: ms * 1_000_000 }),
        1 => Just(Refusal::For { ns: u64::MAX }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let pick = 0..1000usize;
    let shape = 0..SHAPES.len();
    prop_oneof![
        4 => (shape.clone(), any::<bool>()).prop_map(|(shape, is_in_use)| Step::AddAgent { shape, is_in_use }),
        1 => (pick.clone(), shape).prop_map(|(pick, shape)| Step::UpdateAgent { pick, shape }),
        1 => (pick.clone(), 0..constraints::RACKS).prop_map(|(pick, rack)| Step::DescribeAgent { pick, rack }),
        4 => (pick.clone(), 0u64..6).prop_map(|(pick, cpus)| Step::Estimate { pick, cpus }),
        1 => pick.clone().prop_map(|pick| Step::RemoveAgent { pick }),
        1 => (pick.clone(), any::<bool>()).prop_map(|(pick, is_active)| Step::SetAgentActive { pick, is_active }),
        4 => (claims(), any::<bool>()).prop_map(|(claims, is_active)| Step::AddFramework { claims, is_active }),
        1 => (pick.clone(), claims()).prop_map(|(pick, claims)| Step::UpdateFramework { pick, claims }),
        1 => pick.clone().prop_map(|pick| Step::RemoveFramework { pick }),
        2 => (pick.clone(), any::<bool>())
            .prop_map(|(pick, is_active)| Step::SetFrameworkActive { pick, is_active }),
        20 => (pick.clone(), any::<bool>(), refusal())
            .prop_map(|(pick, is_half, refusal)| Step::Release { pick, is_half, refusal }),
        1 => (pick.clone(), some_roles()).prop_map(|(pick, roles)| Step::Suppress { pick, roles }),
        2 => (pick, some_roles()).prop_map(|(pick, roles)| Step::Revive { pick, roles }),
        1 => (role(), 0u64..5000).prop_map(|(role, weight_milli)| Step::SetWeight { role, weight_milli }),
        4 => (0u64..20_000).prop_map(|us| Step::Wait { us }),
        6 => Just(Step::WaitForDeadline),
    ]
}

const SHAPES: [&str; 8] = [
    "cpus:4;mem:1024;disk:100;ports:[31000-31009]",
    "cpus:1;mem:64;ports:[1-2, 5-9]",
    "cpus:8;mem:512;cpus(eng):2;mem(eng):256",
    "cpus:2;mem(eng/web):512;licences(ops):1",
    "cpus:4;mem:1024;gpus:2",
    "cpus(ops):1;mem(ops):128;licences:3;zones:{a,b}",
    "mem:31;ports:[1-100]",
    "cpus:2;mem:256",
];

/// Every third shape with something revocable besides.
fn shape(at: usize) -> Resources {
    let mut resources: Resources = SHAPES[at].parse().unwrap();
    if at % 3 == 1 {
        resources.add_part(&revocable("cpus", 3));
    }
    resources
}

/// Half of every scalar, nothing else; empty where that would round away.
fn half(resources: &Resources) -> Resources {
    let halve = |part: &Resource| match part.value {
        model::resources::Value::Scalar(amount) => {
            let amount = Quantity::from_milli(amount.milli() / 2);
            Resource { value: model::resources::Value::Scalar(amount), ..part.clone() }
        }
        _ => part.clone(),
    };
    resources.iter().map(halve).collect()
}

struct World {
    now: Time,
    core: Core,
    /// Where there is one, every decision is compared.
    reference: Option<Reference>,
    agents: Vec<AgentKey>,
    frameworks: Vec<(FrameworkKey, Claims)>,
    agent_keys: KeyPool<AgentKey>,
    framework_keys: KeyPool<FrameworkKey>,
    /// Offered or in use.
    held: Vec<Allocation>,
    /// By index of the agent.
    totals: BTreeMap<u32, Resources>,
    /// What the step at hand has brought.
    given: Vec<Allocation>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            now: Time::default(),
            core: Core::default(),
            reference: Some(Reference::default()),
            agents: Vec::new(),
            frameworks: Vec::new(),
            agent_keys: KeyPool::default(),
            framework_keys: KeyPool::default(),
            held: Vec::new(),
            totals: BTreeMap::new(),
            given: Vec::new(),
        }
    }
}

impl World {
    /// What is offered because of it.
    fn take(&mut self, step: Step) -> Vec<Allocation> {
        if let Some(event) = self.event(step) {
            let mut out = Vec::new();
            let expect = self.reference.as_mut().map(|reference| reference.handle(self.now, &event));
            self.core.handle(self.now, event, &mut out);
            self.compare(out, expect);
        }
        self.core.invariants(self.now);
        // The core may look earlier than it has to, never later.
        let due = self.reference.as_ref().and_then(Reference::deadline);
        assert!(due.is_none() || self.core.deadline().is_some_and(|deadline| Some(deadline) <= due));
        std::mem::take(&mut self.given)
    }

    fn wait_until(&mut self, now: Time) {
        self.now = self.now.max(now);
        let mut out = Vec::new();
        self.core.expire(self.now, &mut out);
        let expect = self.reference.as_mut().map(|reference| reference.expire(self.now));
        self.compare(out, expect);
    }

    fn compare(&mut self, out: Vec<Allocation>, expect: Option<Vec<Allocation>>) {
        if let Some(expect) = expect {
            assert_eq!(out, expect);
        }
        self.held.extend(out.iter().cloned());
        self.given.extend(out);
    }

    /// `None` when there is nothing the step could be about, or it is only about time.
    fn event(&mut self, step: Step) -> Option<Event> {
        let agent = |pick: usize| (!self.agents.is_empty()).then(|| self.agents[pick % self.agents.len()]);
        let framework = |pick: usize| {
            (!self.frameworks.is_empty()).then(|| self.frameworks[pick % self.frameworks.len()].0)
        };
        Some(match step {
            Step::AddAgent { shape: at, is_in_use } => return self.add_agent(at, is_in_use),
            Step::UpdateAgent { pick, shape: at } => {
                let agent = agent(pick)?;
                self.totals.insert(agent.index, shape(at));
                Event::UpdateAgent { agent, total: shape(at) }
            }
            Step::DescribeAgent { pick, rack } => {
                Event::DescribeAgent { agent: agent(pick)?, description: constraints::on(rack) }
            }
            Step::Estimate { pick, cpus } => {
                let agent = agent(pick)?;
                let mut total = self.totals[&agent.index].filter(|part| !part.is_revocable);
                total.add_part(&revocable("cpus", cpus));
                self.totals.insert(agent.index, total.clone());
                Event::UpdateAgent { agent, total }
            }
            Step::RemoveAgent { pick } => return self.remove_agent(pick),
            Step::SetAgentActive { pick, is_active: true } => Event::ActivateAgent { agent: agent(pick)? },
            Step::SetAgentActive { pick, .. } => Event::DeactivateAgent { agent: agent(pick)? },
            Step::AddFramework { claims, is_active } => {
                let framework = self.framework_keys.take();
                self.frameworks.push((framework, claims.clone()));
                Event::AddFramework { framework, info: claims, is_active }
            }
            Step::UpdateFramework { pick, claims } => {
                let framework = framework(pick)?;
                let at = pick % self.frameworks.len();
                self.frameworks[at].1 = claims.clone();
                Event::UpdateFramework { framework, info: claims }
            }
            Step::RemoveFramework { pick } => {
                let framework = framework(pick)?;
                self.frameworks.retain(|(key, _)| *key != framework);
                self.held.retain(|held| held.framework != framework);
                self.framework_keys.give_back(framework);
                Event::RemoveFramework { framework }
            }
            Step::SetFrameworkActive { pick, is_active: true } => {
                Event::ActivateFramework { framework: framework(pick)? }
            }
            Step::SetFrameworkActive { pick, .. } => {
                Event::DeactivateFramework { framework: framework(pick)? }
            }
            Step::Release { pick, is_half, refusal } => return self.release(pick, is_half, refusal),
            Step::Suppress { pick, roles } => Event::Suppress { framework: framework(pick)?, roles },
            Step::Revive { pick, roles } => Event::Revive { framework: framework(pick)?, roles },
            Step::SetWeight { role, weight_milli } => {
                Event::SetWeight { role, weight: Quantity::from_milli(weight_milli) }
            }
            Step::SetQuota { role, quota } => Event::SetQuota { role, quota },
            Step::Wait { us } => {
                self.wait_until(self.now.plus_ns(us * 1000));
                return None;
            }
            Step::WaitForDeadline => {
                self.wait_until(self.core.deadline()?);
                return None;
            }
        })
    }

    fn add_agent(&mut self, at: usize, is_in_use: bool) -> Option<Event> {
        if self.agents.len() == 6 {
            return None;
        }
        let agent = self.agent_keys.take();
        self.agents.push(agent);
        let total = shape(at);
        self.totals.insert(agent.index, total.clone());
        let mut used = Vec::new();
        if let Some((framework, claims)) = self.frameworks.first().filter(|_| is_in_use) {
            let role = claims.roles[0].clone();
            let resources = half(&total).allocated_to(&role);
            self.held.push(Allocation { framework: *framework, role, agent, resources: resources.clone() });
            used.push((*framework, resources));
        }
        Some(Event::AddAgent { agent, total, used })
    }

    fn remove_agent(&mut self, pick: usize) -> Option<Event> {
        if self.agents.is_empty() {
            return None;
        }
        let agent = self.agents.remove(pick % self.agents.len());
        self.held.retain(|held| held.agent != agent);
        self.totals.remove(&agent.index);
        self.agent_keys.give_back(agent);
        Some(Event::RemoveAgent { agent })
    }

    fn release(&mut self, pick: usize, is_half: bool, refusal: Refusal) -> Option<Event> {
        if self.held.is_empty() {
            return None;
        }
        let mut held = self.held.remove(pick % self.held.len());
        let resources = if is_half { half(&held.resources) } else { held.resources.clone() };
        held.resources = held.resources.checked_sub(&resources).expect("half of it is in it");
        let (framework, agent) = (held.framework, held.agent);
        if !held.resources.is_empty() {
            self.held.push(held);
        }
        (!resources.is_empty()).then_some(Event::Release { framework, agent, resources, refusal })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn the_core_decides_as_the_reference_does(steps in proptest::collection::vec(step(), 1..120)) {
        let mut world = World::default();
        for step in steps {
            world.take(step);
        }
    }
}
