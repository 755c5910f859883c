//! The five laws of the allocator, with whole cores of two workers, in every interleaving of what they share; and bugs,
//! seeded into the code, that break them: each is found.

use crate::allocator::crew::{self, Member, Message, Shards, Told, crew};
use crate::allocator::event::{Allocation, Claims, Event, Refusal};
use crate::allocator::key::{AgentKey, FrameworkKey};
use crate::allocator::options::Options;
use crate::allocator::ring::{Consumer, Producer, ring};
use crate::sync::{Seed, few_interruptions, is_found, spawn, thread};
use model::quantity::Quantity;
use model::quota::Quota;
use model::resources::{CPUS, Resources};
use model::role::Role;
use model::time::Time;

const NOW: Time = Time(1);

fn cpus(count: u64) -> Resources {
    format!("cpus:{count}").parse().expect("resources")
}

fn role(name: &str) -> Role {
    Role::parse(name).expect("a role")
}

fn add_agent(index: u32, count: u64) -> Event {
    Event::AddAgent { agent: AgentKey { index, generation: 0 }, total: cpus(count), used: Vec::new() }
}

fn add_framework(index: u32, name: &str) -> Event {
    let info = Claims { roles: vec![role(name)], ..Claims::default() };
    Event::AddFramework { framework: FrameworkKey { index, generation: 0 }, info, is_active: true }
}

fn limit(name: &str, count: u64) -> Event {
    let mut quota = Quota::default();
    quota.limits.insert(CPUS.into(), Quantity::from_units(count));
    Event::SetQuota { role: role(name), quota }
}

/// How many whole CPUs.
fn count(resources: &Resources) -> u64 {
    resources.scalar(CPUS).milli() / 1000
}

/// Two workers that have been told all this and have decided nothing yet.
fn two(events: Vec<Event>) -> [Member; 2] {
    let mut members: [Member; 2] = crew(Options::default(), 2).try_into().ok().expect("two");
    for event in events {
        match Shards::new(2).told(event) {
            Told::One(worker, message) => members[worker].apply(NOW, message),
            Told::All(message) => members.iter_mut().for_each(|member| member.apply(NOW, message.clone())),
        }
    }
    members
}

/// Decides what is open, and says how many CPUs were given.
fn settle(member: &mut Member) -> u64 {
    let mut out = Vec::new();
    member.core.settle(NOW, &mut out);
    out.iter().map(|allocation| count(&allocation.resources)).sum()
}

/// The cluster core's side of a worker, as `handle.rs` has it. `None` ends the worker.
struct Lane {
    events: Producer<Option<Message>>,
    allocations: Consumer<Allocation>,
    thread: thread::JoinHandle<Member>,
}

impl Lane {
    /// A worker on a thread of its own, as `worker.rs` runs it.
    fn start(mut member: Member) -> Self {
        let (events, mut inbox) = ring::<Option<Message>>(4);
        let (mut outbox, allocations) = ring(4);
        let run = move || {
            loop {
                let Some(message) = inbox.pop() else {
                    thread::yield_now();
                    continue;
                };
                let Some(message) = message else { return member };
                member.apply(NOW, message);
                let mut out = Vec::new();
                member.core.settle(NOW, &mut out);
                out.into_iter().for_each(|one| assert!(outbox.push(one).is_ok(), "room for all"));
            }
        };
        Self { events, allocations, thread: spawn(run) }
    }

    fn send(&mut self, message: Option<Message>) {
        assert!(self.events.push(message).is_ok(), "room for all");
    }
}

/// What is outstanding of each agent, as the cluster core knows it.
#[derive(Default)]
struct Outstanding([u64; 2]);

impl Outstanding {
    fn add(&mut self, worker: usize, allocation: &Allocation) {
        let here = &mut self.0[Shards::new(2).agent(worker, allocation.agent).index as usize];
        *here += count(&allocation.resources);
        assert!(*here <= 2, "law 2: no more is offered of an agent than it has");
    }
}

/// Laws 1 and 2: two workers have an agent each, and what one has offered comes back while it may be at work.
fn nothing_is_lost_or_offered_twice() {
    few_interruptions(3, || {
        let [member, mut other] = two(vec![add_framework(0, "*"), add_agent(1, 2)]);
        let (mut lane, mut outstanding) = (Lane::start(member), Outstanding::default());
        let mut tell = |lane: &mut Lane, outstanding: &mut Outstanding, event| {
            match Shards::new(2).told(event) {
                Told::One(0, message) => lane.send(Some(message)),
                Told::One(_, message) => other.apply(NOW, message),
                Told::All(_) => unreachable!("it is about an agent"),
            }
            let mut out = Vec::new();
            other.core.settle(NOW, &mut out);
            out.iter().for_each(|allocation| outstanding.add(1, allocation));
        };
        tell(&mut lane, &mut outstanding, add_agent(0, 2));
        let first = loop {
            match lane.allocations.pop() {
                Some(allocation) => break Shards::new(2).allocation(0, allocation),
                None => thread::yield_now(),
            }
        };
        let Allocation { framework, agent, resources, .. } = first;
        let release = Event::Release { framework, agent, resources, refusal: Refusal::None };
        tell(&mut lane, &mut outstanding, release);
        lane.send(None);
        let member = lane.thread.join().expect("the worker ends");
        while let Some(allocation) = lane.allocations.pop() {
            outstanding.add(0, &allocation);
        }
        assert_eq!(outstanding.0, [2, 2], "law 1: what is free, offered and used is all there is");
        member.core.invariant_conservation();
    });
}

#[test]
fn what_is_free_offered_and_used_is_all_there_is() {
    nothing_is_lost_or_offered_twice();
    assert!(is_found(Seed::EarlyTail, nothing_is_lost_or_offered_twice));
}

#[test]
fn only_the_owner_lowers_a_slot() {
    assert!(is_found(Seed::WrongWorker, nothing_is_lost_or_offered_twice));
}

/// Law 3: both offer what is left of a limit at once; one to a role below it, which must not keep what that was refused.
fn limits_hold() {
    few_interruptions(3, || {
        let [mut one, mut other] = two(vec![
            limit("eng", 3),
            limit("eng/web", 9),
            add_framework(0, "eng/web"),
            add_agent(0, 2),
            add_agent(1, 2),
        ]);
        let other = spawn(move || (settle(&mut other), other));
        let here = settle(&mut one);
        let (there, other) = other.join().expect("the other ends");
        assert_eq!(here + there, 3, "law 3: all that the limit allows, and no more");
        finish(&mut [one, other]);
    });
}

/// Has both tell each other everything; they must agree then.
fn finish(members: &mut [Member; 2]) {
    for _ in 0..4 {
        for member in members.iter_mut() {
            member.tell();
            member.hear();
        }
    }
    assert!(members.iter().all(|member| !member.has_news()), "told");
    crew::invariants(members);
}

#[test]
fn limits_hold_at_every_instant() {
    limits_hold();
    assert!(is_found(Seed::CheckThenAdd, limits_hold));
    assert!(is_found(Seed::NoRollback, limits_hold));
}

/// Law 4: a lower limit is published while one worker still gives under the old one.
fn a_new_quota_is_a_new_account() {
    few_interruptions(3, || {
        let [mut one, mut other] =
            two(vec![limit("eng", 4), add_framework(0, "eng"), add_agent(0, 2), add_agent(1, 1)]);
        let Told::All(message) = Shards::new(2).told(limit("eng", 2)) else {
            unreachable!("all workers are told of a quota")
        };
        let theirs = message.clone();
        let other = spawn(move || {
            let before = settle(&mut other);
            other.apply(NOW, theirs);
            (before + settle(&mut other), other)
        });
        one.apply(NOW, message);
        let here = settle(&mut one);
        let (there, other) = other.join().expect("the other ends");
        assert_eq!(there, 1);
        assert!(here + there <= 2, "law 4: who gives under the new limit knows what was given under the old");
        finish(&mut [one, other]);
    });
}

#[test]
fn what_is_published_does_not_change() {
    a_new_quota_is_a_new_account();
    assert!(is_found(Seed::OpenAtOnce, a_new_quota_is_a_new_account));
}

/// Law 5: one worker is told of a framework, serves it and says so, before the other has heard of it.
fn shares_come_right() {
    few_interruptions(3, || {
        let [mut one, mut other] = two(vec![add_agent(0, 2), add_agent(1, 2)]);
        let Told::All(message) = Shards::new(2).told(add_framework(0, "*")) else {
            unreachable!("all workers are told of a framework")
        };
        let theirs = message.clone();
        let other = spawn(move || {
            other.hear();
            other.apply(NOW, theirs);
            other.hear();
            assert_eq!(settle(&mut other), 2);
            other.tell();
            other
        });
        one.apply(NOW, message);
        assert_eq!(settle(&mut one), 2);
        one.tell();
        let other = other.join().expect("the other ends");
        finish(&mut [one, other]);
    });
}

#[test]
fn shares_may_be_stale_and_totals_not_wrong() {
    shares_come_right();
    assert!(is_found(Seed::BelieveAtOnce, shares_come_right));
}
