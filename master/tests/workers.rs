//! Several workers in one thread, in an order that is drawn: histories in which events reach each worker early or late, and
//! what workers tell each other too. The laws hold after every step; once everything has reached everybody, all count the same.
#![expect(clippy::unwrap_used, reason = "a test that meets what it did not expect should end there")]

use master::allocator::crew::{self, Member, Message, Shards, Told};
use master::allocator::event::{Allocation, Claims, Event, Refusal};
use master::allocator::key::{AgentKey, FrameworkKey, KeyPool};
use master::allocator::options::Options;
use model::quantity::Quantity;
use model::quota::Quota;
use model::resources::{CPUS, Resources};
use model::role::Role;
use model::time::Time;
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};

const WORKER_COUNT: usize = 3;
const ROLES: [&str; 4] = ["*", "eng", "eng/web", "ops"];
/// Of `eng` with all below it; from the beginning.
const LIMIT: u64 = 9;

#[derive(Clone, Debug)]
enum Step {
    AddAgent {
        cpus: u64,
    },
    RemoveAgent {
        pick: usize,
    },
    AddFramework {
        role: usize,
    },
    RemoveFramework {
        pick: usize,
    },
    LeaveRoles {
        pick: usize,
        role: usize,
    },
    Release {
        pick: usize,
        refusal: Refusal,
    },
    Revive {
        pick: usize,
    },
    /// A quota for `ops`, or another one.
    Guarantee {
        cpus: u64,
    },
    /// The worker takes so many of its events, and decides.
    Work {
        worker: usize,
        events: usize,
    },
    Tell {
        worker: usize,
    },
    Hear {
        worker: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (pick, worker, role) = (0..1000usize, 0..WORKER_COUNT, 0..ROLES.len());
    let refusal =
        prop_oneof![Just(Refusal::None), Just(Refusal::Pass), Just(Refusal::For { ns: 50_000_000 })];
    prop_oneof![
        6 => (1..5u64).prop_map(|cpus| Step::AddAgent { cpus }),
        1 => pick.clone().prop_map(|pick| Step::RemoveAgent { pick }),
        3 => role.clone().prop_map(|role| Step::AddFramework { role }),
        1 => pick.clone().prop_map(|pick| Step::RemoveFramework { pick }),
        1 => (pick.clone(), role).prop_map(|(pick, role)| Step::LeaveRoles { pick, role }),
        10 => (pick.clone(), refusal).prop_map(|(pick, refusal)| Step::Release { pick, refusal }),
        2 => pick.prop_map(|pick| Step::Revive { pick }),
        1 => (0..5u64).prop_map(|cpus| Step::Guarantee { cpus }),
        20 => (worker.clone(), 1..4usize).prop_map(|(worker, events)| Step::Work { worker, events }),
        8 => worker.clone().prop_map(|worker| Step::Tell { worker }),
        8 => worker.prop_map(|worker| Step::Hear { worker }),
    ]
}

struct World {
    now: Time,
    shards: Shards,
    members: Vec<Member>,
    /// On their way to each.
    inboxes: Vec<VecDeque<Message>>,
    agent_keys: KeyPool<AgentKey>,
    framework_keys: KeyPool<FrameworkKey>,
    agents: BTreeMap<AgentKey, u64>,
    frameworks: Vec<FrameworkKey>,
    /// Offered or in use, as the cluster core knows it.
    held: Vec<Allocation>,
}

fn role(at: usize) -> Role {
    Role::parse(ROLES[at]).unwrap()
}

fn claims(at: usize) -> Claims {
    Claims { roles: vec![role(at)], ..Claims::default() }
}

fn cpus(resources: &Resources) -> u64 {
    resources.scalar(CPUS).milli() / 1000
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            now: Time(1),
            shards: Shards::new(WORKER_COUNT),
            members: crew::crew(Options::default(), WORKER_COUNT),
            inboxes: vec![VecDeque::new(); WORKER_COUNT],
            agent_keys: KeyPool::default(),
            framework_keys: KeyPool::default(),
            agents: BTreeMap::new(),
            frameworks: Vec::new(),
            held: Vec::new(),
        };
        let mut quota = Quota::default();
        quota.limits.insert(CPUS.into(), Quantity::from_units(LIMIT));
        world.send(Event::SetQuota { role: role(1), quota });
        world
    }

    fn send(&mut self, event: Event) {
        match self.shards.told(event) {
            Told::One(worker, message) => self.inboxes[worker].push_back(message),
            Told::All(message) => self.inboxes.iter_mut().for_each(|inbox| inbox.push_back(message.clone())),
        }
    }

    fn take(&mut self, step: Step) {
        let agent = |pick: usize| self.agents.keys().nth(pick % self.agents.len().max(1)).copied();
        let framework = |pick: usize| self.frameworks.get(pick % self.frameworks.len().max(1)).copied();
        match step {
            Step::AddAgent { cpus } => {
                let agent = self.agent_keys.take();
                self.agents.insert(agent, cpus);
                let total = format!("cpus:{cpus}").parse().unwrap();
                self.send(Event::AddAgent { agent, total, used: Vec::new() });
            }
            Step::RemoveAgent { pick } => {
                let Some(agent) = agent(pick) else { return };
                self.agents.remove(&agent);
                self.agent_keys.give_back(agent);
                self.held.retain(|held| held.agent != agent);
                self.send(Event::RemoveAgent { agent });
            }
            Step::AddFramework { role } => {
                let framework = self.framework_keys.take();
                self.frameworks.push(framework);
                self.send(Event::AddFramework { framework, info: claims(role), is_active: true });
            }
            Step::RemoveFramework { pick } => {
                let Some(framework) = framework(pick) else { return };
                self.frameworks.retain(|other| *other != framework);
                self.framework_keys.give_back(framework);
                self.held.retain(|held| held.framework != framework);
                self.send(Event::RemoveFramework { framework });
            }
            Step::LeaveRoles { pick, role } => {
                let Some(framework) = framework(pick) else { return };
                self.send(Event::UpdateFramework { framework, info: claims(role) });
            }
            Step::Release { pick, refusal } => {
                if self.held.is_empty() {
                    return;
                }
                let held = self.held.swap_remove(pick % self.held.len());
                let Allocation { framework, agent, resources, .. } = held;
                self.send(Event::Release { framework, agent, resources, refusal });
            }
            Step::Revive { pick } => {
                let Some(framework) = framework(pick) else { return };
                self.send(Event::Revive { framework, roles: Vec::new() });
            }
            Step::Guarantee { cpus } => {
                let mut quota = Quota::default();
                if cpus > 0 {
                    quota.guarantees.insert(CPUS.into(), Quantity::from_units(cpus));
                }
                self.send(Event::SetQuota { role: role(3), quota });
            }
            Step::Work { worker, events } => self.work(worker, events),
            Step::Tell { worker } => drop(self.members[worker].tell()),
            Step::Hear { worker } => {
                self.members[worker].hear();
                self.work(worker, 0);
            }
        }
    }

    fn work(&mut self, worker: usize, events: usize) {
        self.now = self.now.plus_ns(1_000_000);
        let mut out = Vec::new();
        let member = &mut self.members[worker];
        member.core.expire(self.now, &mut out);
        for _ in 0..events {
            let Some(message) = self.inboxes[worker].pop_front() else { break };
            member.apply(self.now, message);
        }
        member.core.settle(self.now, &mut out);
        // That nobody waits holds when everybody has heard everything.
        member.core.invariant_conservation();
        member.core.invariant_charges();
        member.core.invariant_shares();
        member.core.invariant_refusals();
        member.core.invariant_quota();
        for allocation in out {
            let allocation = self.shards.allocation(worker, allocation);
            let is_known = self.agent_keys.is_live(allocation.agent)
                && self.framework_keys.is_live(allocation.framework);
            if is_known {
                self.held.push(allocation);
            }
        }
        self.check();
    }

    /// What is outstanding is no more than agents have, and than a limit allows.
    fn check(&self) {
        let mut by_agent = BTreeMap::<AgentKey, u64>::new();
        for held in &self.held {
            *by_agent.entry(held.agent).or_default() += cpus(&held.resources);
        }
        for (agent, held) in by_agent {
            assert!(held <= self.agents[&agent], "{agent:?}");
        }
        let of_eng = self.held.iter().filter(|held| held.role.is_within(&role(1)));
        assert!(of_eng.map(|held| cpus(&held.resources)).sum::<u64>() <= LIMIT);
    }

    /// Everything reaches everybody.
    fn finish(&mut self) {
        let is_done = (0..50).any(|_| {
            let mut is_quiet = true;
            for worker in 0..WORKER_COUNT {
                self.now = self.now.plus_ns(20_000_000);
                self.work(worker, usize::MAX);
                is_quiet &= !self.members[worker].tell();
                is_quiet &= !self.members[worker].hear();
                self.work(worker, 0);
            }
            is_quiet
        });
        assert!(is_done, "nothing goes round for ever");
        self.members.iter().for_each(|member| member.core.invariants(self.now));
        crew::invariants(&self.members);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn the_laws_hold_whoever_is_late(steps in proptest::collection::vec(step(), 1..150)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        world.finish();
    }
}

/// A role at its limit hears of room that comes on another worker's agent, where it refuses what came back.
#[test]
fn room_that_comes_elsewhere_is_offered() {
    let mut world = World::new();
    world.take(Step::AddFramework { role: 1 });
    (0..6).for_each(|_| world.take(Step::AddAgent { cpus: 3 }));
    world.finish();
    let held = |world: &World| world.held.iter().map(|held| cpus(&held.resources)).sum::<u64>();
    assert_eq!(held(&world), LIMIT);
    // Six agents, of which it may have three: three times there is another.
    for _ in 0..3 {
        world.take(Step::Release { pick: 0, refusal: Refusal::For { ns: u64::MAX } });
        world.finish();
        assert_eq!(held(&world), LIMIT);
    }
    world.take(Step::Release { pick: 0, refusal: Refusal::For { ns: u64::MAX } });
    world.finish();
    assert_eq!(held(&world), LIMIT - 3);
}

/// In the end, frameworks have equal shares of a cluster whose agents are several workers'.
#[test]
fn shares_are_fair_across_workers() {
    let mut world = World::new();
    (0..4).for_each(|_| world.take(Step::AddFramework { role: 0 }));
    world.finish();
    (0..48).for_each(|at| {
        world.take(Step::AddAgent { cpus: 2 });
        world.take(Step::Work { worker: at % WORKER_COUNT, events: 1 });
        world.take(Step::Tell { worker: at % WORKER_COUNT });
        (0..WORKER_COUNT).for_each(|worker| world.take(Step::Hear { worker }));
    });
    world.finish();
    let mut by_framework = BTreeMap::<FrameworkKey, u64>::new();
    world
        .held
        .iter()
        .for_each(|held| *by_framework.entry(held.framework).or_default() += cpus(&held.resources));
    assert_eq!(by_framework.into_values().collect::<Vec<_>>(), [24; 4]);
}
