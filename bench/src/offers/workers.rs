//! Several workers, each on a thread of its own, each with its share of the agents and all of the frameworks: what
//! they decide together, against one alone. Each frees what it has offered itself, so that nobody else has to keep up; they
//! tell each other what they gave as often as the allocator's threads do.
//!
//! Rounds with one and with several alternate; ratios are medians. On a machine that is busy otherwise, wall time says
//! little: CPU time a decision says what working side by side costs, which is all but waiting for a processor.

use super::Arguments;
use super::cluster::Cluster;
use crate::clock;
use crate::report::{Better, Report};
use ingot_master::allocator::crew::crew;
use ingot_master::allocator::event::Refusal;
use ingot_master::allocator::options::Options;
use std::sync::Barrier;
use std::time::Duration;

const ROUND_COUNT: usize = 5;

/// As the allocator's threads.
const NEWS_PACE: Duration = Duration::from_millis(10);

/// Events between two looks at the clock.
const BATCH: u32 = 256;

/// What a round took: decisions of all workers, wall time, and CPU time of all of them.
struct Round {
    decisions: f64,
    wall_s: f64,
    cpu_s: f64,
}

pub(crate) fn run(arguments: &Arguments, report: &mut Report) {
    let count = arguments.workers;
    let mut rounds: Vec<(Round, Round)> = Vec::new();
    for _ in 0..ROUND_COUNT {
        rounds.push((round(arguments, 1), round(arguments, count)));
    }
    let median = |ratio: &dyn Fn(&(Round, Round)) -> f64| {
        let mut ratios: Vec<_> = rounds.iter().map(ratio).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        ratios[ROUND_COUNT / 2]
    };
    let per_wall = |round: &Round| round.decisions / round.wall_s;
    let per_cpu = |round: &Round| round.decisions / round.cpu_s;
    report.detail("workers", count);
    report.detail("decisions a second, one worker", median(&|(one, _)| per_wall(one)));
    report.detail("decisions a second, all workers", median(&|(_, all)| per_wall(all)));
    report.detail("decisions a second of CPU, one worker", median(&|(one, _)| per_cpu(one)));
    report.detail("decisions a second of CPU, each of all", median(&|(_, all)| per_cpu(all)));
    // What 1.7 is to two workers, by the worker.
    let bar = 1.0 + 0.7 * (count as f64 - 1.0);
    let by_wall = median(&|(one, all)| per_wall(all) / per_wall(one));
    report.bar("scaling to all workers, decisions a second", by_wall, "x", (Better::Higher, bar));
    let by_cpu = median(&|(one, all)| count as f64 * per_cpu(all) / per_cpu(one));
    report.bar("scaling to all workers, by CPU a decision", by_cpu, "x", (Better::Higher, bar));
}

fn round(arguments: &Arguments, count: usize) -> Round {
    let barrier = Barrier::new(count);
    let share = arguments.agents / count as u32;
    let events = arguments.churn / count as u32;
    let members = crew(Options::default(), count);
    let results: Vec<(f64, f64)> = std::thread::scope(|scope| {
        let run = |member| {
            let barrier = &barrier;
            scope.spawn(move || {
                let mut cluster = Cluster::of(member, arguments.roles);
                (0..arguments.frameworks).for_each(|_| cluster.add_framework(false));
                (0..share).for_each(|_| cluster.add_agent());
                cluster.exchange();
                barrier.wait();
                cluster.exchange();
                let (start, cpu) = (clock::now(), clock::thread_cpu());
                churn(&mut cluster, events);
                ((start.elapsed()).as_secs_f64(), (clock::thread_cpu() - cpu).as_secs_f64())
            })
        };
        let threads: Vec<_> = members.into_iter().map(run).collect();
        threads.into_iter().map(|thread| thread.join().expect("a worker ends")).collect()
    });
    Round {
        decisions: f64::from(events) * count as f64,
        wall_s: results.iter().map(|(wall, _)| *wall).fold(0.0, f64::max),
        cpu_s: results.iter().map(|(_, cpu)| cpu).sum(),
    }
}

fn churn(cluster: &mut Cluster, events: u32) {
    let mut told = clock::now();
    for at in 0..events {
        let event = cluster.pick_release(Refusal::None);
        cluster.handle(event);
        if at % BATCH == 0 && told.elapsed() >= NEWS_PACE {
            cluster.exchange();
            told = clock::now();
        }
    }
}
