//! Resources freed at a steady rate, through the allocator's thread and its rings: how long until the offer is there.
//! Open loop: each free has its due time, and its latency counts from then, whether or not the bench was late with it
//! (no coordinated omission).

use super::{Arguments, TOTAL, quotas};
use crate::clock::{self, Times};
use crate::report::{Better, Report};
use ingot_master::allocator::event::{Allocation, Claims, Event, Refusal};
use ingot_master::allocator::handle::Allocator;
use ingot_master::allocator::key::{AgentKey, FrameworkKey, KeyPool};
use ingot_master::allocator::options::Options;
use model::resources::Resources;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    // The bench polls; nobody has to be woken.
    let workers = NonZeroUsize::new(arguments.workers).expect("one at least");
    let mut allocator = Allocator::start(Options { workers, ..Options::default() }, Box::new(|| ()))?;
    let mut held = fill(arguments, &mut allocator);
    let count = u64::from(arguments.frees_per_s) * u64::from(arguments.paced_s);
    let period = Duration::from_secs(1) / arguments.frees_per_s;
    let mut due_of: Vec<Option<Instant>> = vec![None; arguments.agents as usize];
    let mut times = Times::with_capacity(count as usize);
    let mut late = Times::with_capacity(count as usize);
    let mut out = Vec::new();
    let before = Share::of_threads();
    let (start, mut sent, mut seen) = (clock::now(), 0, 0);
    while seen < count {
        allocator.poll_offers(&mut out);
        let now = clock::now();
        for allocation in out.drain(..) {
            let due = due_of[allocation.agent.index as usize].take().expect("an agent is freed once");
            times.add(now - due);
            held.push_back(allocation);
            seen += 1;
        }
        let due = start + period * sent as u32;
        if sent < count
            && now >= due
            && let Some(allocation) = held.pop_front()
        {
            let Allocation { framework, agent, resources, .. } = allocation;
            due_of[agent.index as usize] = Some(due);
            late.add(now - due);
            allocator.send(Event::Release { framework, agent, resources, refusal: Refusal::None });
            sent += 1;
        }
    }
    let after = Share::of_threads().into_iter();
    let threads = after.zip(before).map(|((name, now), (_, before))| (name, now.since(before).told(count)));
    report.detail("paced, threads a free", threads.collect::<serde_json::Map<_, _>>());
    let (times, late) = (times.sorted(), late.sorted());
    report.bar("freed -> offer in the ring, p50", times.us(500), "us", (Better::Lower, 3.0));
    report.bar("freed -> offer in the ring, p99", times.us(990), "us", (Better::Lower, 50.0));
    report.detail("freed -> offer in the ring", times.summary());
    report.detail("of which the bench itself was late", late.summary());
    report.detail("paced frees a second", arguments.frees_per_s);
    Ok(())
}

/// What the kernel says of a thread (`/proc/PID/task/TID/schedstat`): latency that is the allocator's own, apart from what it
/// waited for a processor that others had.
#[derive(Clone, Copy)]
struct Share {
    cpu_ns: u64,
    /// Ready to run, and not running.
    delay_ns: u64,
    /// How often it was given a processor; once more each time that it slept or was sent off.
    run_count: u64,
}

impl Share {
    /// Of each thread of this process, in one order while none comes or goes.
    fn of_threads() -> Vec<(String, Self)> {
        let mut ids: Vec<_> = std::fs::read_dir("/proc/self/task")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
            .collect();
        ids.sort_unstable();
        let of = |id: u32| {
            let read = |file: &str| std::fs::read_to_string(format!("/proc/self/task/{id}/{file}")).ok();
            let text = read("schedstat")?;
            let mut words = text.split_whitespace().map(|word| word.parse().unwrap_or(0));
            let mut next = || words.next().unwrap_or(0);
            let share = Self { cpu_ns: next(), delay_ns: next(), run_count: next() };
            Some((read("comm")?.trim().to_owned(), share))
        };
        ids.into_iter().filter_map(of).collect()
    }

    fn since(self, before: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns - before.cpu_ns,
            delay_ns: self.delay_ns - before.delay_ns,
            run_count: self.run_count - before.run_count,
        }
    }

    fn told(self, frees: u64) -> serde_json::Value {
        let each = |sum: u64| sum as f64 / frees as f64;
        serde_json::json!({
            "cpu_us": each(self.cpu_ns) / 1e3,
            "waited_for_a_processor_us": each(self.delay_ns) / 1e3,
            "given_a_processor": each(self.run_count),
        })
    }
}

/// Everything is offered to somebody.
fn fill(arguments: &Arguments, allocator: &mut Allocator) -> VecDeque<Allocation> {
    let mut agents = KeyPool::<AgentKey>::default();
    let mut frameworks = KeyPool::<FrameworkKey>::default();
    for at in 0..arguments.frameworks {
        let roles = vec![arguments.roles.role(at as usize)];
        let info = Claims { roles, ..Claims::default() };
        allocator.send(Event::AddFramework { framework: frameworks.take(), info, is_active: true });
    }
    quotas(arguments).into_iter().for_each(|event| allocator.send(event));
    let total: Resources = TOTAL.parse().expect("resources");
    for _ in 0..arguments.agents {
        allocator.send(Event::AddAgent { agent: agents.take(), total: total.clone(), used: Vec::new() });
    }
    let mut held = Vec::new();
    while held.len() < arguments.agents as usize {
        allocator.poll_offers(&mut held);
        std::thread::yield_now();
    }
    held.into()
}
