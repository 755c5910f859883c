//! The allocator. Phases in the shapes that Mesos' own allocator was measured with (shared figures: issue of the
//! allocator): agents come; frameworks come; everything is free; nothing is free; everything is declined with a
//! filter; steady churn; every pair filtered; agents come partly used; and resources freed at a steady rate through
//! the allocator's thread.
//!
//! CPU time is that of the deciding thread. Latencies in the core are wall time of one `handle`.

mod cluster;
mod paced;
mod workers;

use crate::clock::{self, Times};
use crate::report::{Better, Report};
use cluster::Cluster;
use ingot_master::allocator::event::{Event, Refusal};
use model::quantity::Quantity;
use model::quota::Quota;
use model::resources::Resources;
use model::role::Role;

/// What an agent has in Mesos' benchmark.
const TOTAL: &str = "cpus:24;mem:4096;disk:4096;ports:[31000-32000]";

#[derive(clap::Args, Clone)]
pub(crate) struct Arguments {
    #[arg(long, default_value_t = 10_000)]
    agents: u32,
    #[arg(long, default_value_t = 1_000)]
    frameworks: u32,
    /// How frameworks are spread over roles.
    #[arg(long, value_enum, default_value_t = Roles::Star)]
    roles: Roles,
    /// Resources freed a second in the paced phase.
    #[arg(long, default_value_t = 50_000)]
    frees_per_s: u32,
    /// Length of the paced phase, seconds; 0 leaves it out.
    #[arg(long, default_value_t = 3)]
    paced_s: u32,
    /// Threads that decide: in the paced phase, and against one in a phase of their own.
    #[arg(long, default_value_t = 1, value_parser = workers)]
    workers: usize,
    /// Events in the churn phase.
    #[arg(long, default_value_t = 500_000)]
    churn: u32,
    /// Largest agents x frameworks for which every pair is filtered; more is left out. 100 million take a minute or two.
    #[arg(long, default_value_t = 200_000_000)]
    pairs_max: u64,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq)]
enum Roles {
    /// All in `*`.
    Star,
    OneEach,
    /// Ten departments of ten teams; a role each in them.
    Tree,
    /// The same; each department is guaranteed a twentieth of all, and limited to all.
    TreeQuota,
}

impl Roles {
    /// The role of the framework with that number.
    fn role(self, at: usize) -> Role {
        let name = match self {
            Self::Star => "*".to_owned(),
            Self::OneEach => format!("role-{at}"),
            Self::Tree | Self::TreeQuota => format!("department-{}/team-{}/role-{at}", at % 10, at / 10 % 10),
        };
        Role::parse(&name).expect("a role")
    }
}

/// Departments of a tree.
const DEPARTMENT_COUNT: u64 = 10;

/// What is set before a phase begins.
fn quotas(arguments: &Arguments) -> Vec<Event> {
    if arguments.roles != Roles::TreeQuota {
        return Vec::new();
    }
    let total: Resources = TOTAL.parse().expect("resources");
    let amounts = |divisor: u64| {
        let amount = |name: &str| {
            let whole = total.scalar(name).milli() * u64::from(arguments.agents);
            (name.into(), Quantity::from_milli(whole / divisor))
        };
        ["cpus", "mem"].map(amount).into_iter().collect()
    };
    let quota = Quota { guarantees: amounts(2 * DEPARTMENT_COUNT), limits: amounts(1) };
    let role = |at| Role::parse(&format!("department-{at}")).expect("a role");
    (0..DEPARTMENT_COUNT).map(|at| Event::SetQuota { role: role(at), quota: quota.clone() }).collect()
}

impl std::fmt::Display for Roles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Star => "star",
            Self::OneEach => "one-each",
            Self::Tree => "tree",
            Self::TreeQuota => "tree-quota",
        })
    }
}

fn workers(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=64).contains(count));
    count.ok_or_else(|| "allowed is a whole number from 1 to 64".to_owned())
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let mut report = Report::new("offers");
    report.detail("agents", arguments.agents);
    report.detail("frameworks", arguments.frameworks);
    report.detail("roles", arguments.roles.to_string());
    let bytes_before = clock::resident_bytes();
    let mut cluster = Cluster::new(arguments);
    full_cycle(arguments, &mut cluster, &mut report);
    churn(arguments, &mut cluster, &mut report);
    let mib = (clock::resident_bytes() - bytes_before) as f64 / f64::from(1 << 20);
    report.bar("memory after churn, offers held included", mib, "MiB", (Better::Lower, 400.0));
    drop(cluster);
    partly_used(arguments, &mut report);
    all_filtered(arguments, &mut report);
    if arguments.workers > 1 {
        workers::run(arguments, &mut report);
    }
    if arguments.paced_s > 0 {
        paced::run(arguments, &mut report)?;
    }
    Ok(report)
}

fn full_cycle(arguments: &Arguments, cluster: &mut Cluster, report: &mut Report) {
    let (agents, frameworks) = (f64::from(arguments.agents), f64::from(arguments.frameworks));
    let (_, cpu) = clock::cpu_of(|| (0..arguments.agents).for_each(|_| cluster.add_agent()));
    report.detail("add agents, CPU us each", cpu.as_secs_f64() * 1e6 / agents);

    let (_, cpu) = clock::cpu_of(|| (0..arguments.frameworks).for_each(|_| cluster.add_framework(true)));
    let bar = if arguments.roles == Roles::Star { 10.0 } else { 20.0 };
    let per_thousand = cpu.as_secs_f64() * 1e3 / frameworks * 1000.0;
    report.bar("add 1,000 frameworks after the agents, CPU", per_thousand, "ms", (Better::Lower, bar));

    let (_, cpu) = clock::cpu_of(|| cluster.revive_all());
    let offers = cluster.held.len() as f64;
    report.detail("full cycle, offers", offers);
    report.detail("full cycle, CPU ms", cpu.as_secs_f64() * 1e3);
    let bar = if arguments.roles == Roles::Star { 0.4 } else { 0.8 };
    let per_offer = cpu.as_secs_f64() * 1e6 / offers;
    report.bar("full cycle, every agent free, CPU an offer", per_offer, "us", (Better::Lower, bar));

    // What a master does with an offer besides: resources made of their own for each, as if no two agents were alike.
    let (made, cpu) = clock::cpu_of(|| {
        cluster.held_resources().map(Resources::unallocated).filter(|it| !it.is_empty()).count()
    });
    report.detail(
        "full cycle, making an offer's resources anew, CPU us",
        cpu.as_secs_f64() * 1e6 / made as f64,
    );

    let (_, cpu) = clock::cpu_of(|| cluster.cycle());
    report.detail("cycle when nothing is free, CPU ms", cpu.as_secs_f64() * 1e3);

    let refusal = Refusal::For { ns: 3600 * 1_000_000_000 };
    let (_, cpu) = clock::cpu_of(|| cluster.release_all(refusal));
    let again = cluster.held.len() as f64;
    report.detail("all declined with a filter and offered to others, offers", again);
    report.detail(
        "all declined with a filter and offered to others, CPU us each",
        cpu.as_secs_f64() * 1e6 / offers,
    );
}

/// Something that is held comes back and is offered again, one event at a time.
fn churn(arguments: &Arguments, cluster: &mut Cluster, report: &mut Report) {
    let mut times = Times::with_capacity(arguments.churn as usize);
    let before = clock::thread_cpu();
    for _ in 0..arguments.churn {
        let event = cluster.pick_release(Refusal::None);
        let start = clock::now();
        cluster.handle(event);
        times.add(start.elapsed());
    }
    let with_picking = clock::thread_cpu() - before;
    let times = times.sorted();
    report.detail("freed -> allocation in the core", times.summary());
    report.detail(
        "churn with the bench's own work, CPU us an event",
        with_picking.as_secs_f64() * 1e6 / f64::from(arguments.churn),
    );
    // The same without a clock in between, the events prepared: what a worker could do.
    let events: Vec<_> = cluster.take_releases(arguments.agents as usize, Refusal::None);
    let count = events.len() as f64;
    let (_, cpu) = clock::cpu_of(|| events.into_iter().for_each(|event| cluster.handle(event)));
    let per_second = count / cpu.as_secs_f64();
    report.bar("churn, decisions a second of CPU", per_second, "1/s", (Better::Higher, 1e6));
}

/// Frameworks wait; agents come with two thirds in use and ports in pieces.
fn partly_used(arguments: &Arguments, report: &mut Report) {
    let mut cluster = Cluster::new(arguments);
    (0..arguments.frameworks).for_each(|_| cluster.add_framework(false));
    let (_, cpu) = clock::cpu_of(|| (0..arguments.agents).for_each(|_| cluster.add_used_agent()));
    let per_agent = cpu.as_secs_f64() * 1e6 / f64::from(arguments.agents);
    report.detail("add agents 2/3 used, offers included, CPU us each", per_agent);
    // The same offers alone: all of them come back at once, and are decided together.
    let offers = cluster.held.len() as f64;
    let (_, cpu) = clock::cpu_of(|| cluster.release_all(Refusal::None));
    let per_offer = cpu.as_secs_f64() * 1e6 / offers;
    report.detail("give back and offer what is left on agents 2/3 used, CPU us each", per_offer);
    let beyond = per_agent - per_offer * offers / f64::from(arguments.agents);
    report.bar("add agents 2/3 used, CPU beyond their offers", beyond, "us", (Better::Lower, 1.0));
    report.detail("add agents 2/3 used, offers", cluster.held.len());
}

/// Every framework has declined every agent for a long time. They come one after another, each is offered all that the
/// others have declined, and declines it too: two events a pair, as in a real cluster, without a search among many.
fn all_filtered(arguments: &Arguments, report: &mut Report) {
    let pairs = u64::from(arguments.agents) * u64::from(arguments.frameworks);
    if pairs > arguments.pairs_max {
        report.detail("every pair filtered", format!("left out: {pairs} pairs (--pairs-max)"));
        return;
    }
    if arguments.roles == Roles::TreeQuota {
        // What is kept for others' guarantees nobody is offered, so nobody can decline it.
        report.detail("every pair filtered", "left out: guarantees keep some of every agent from everybody");
        return;
    }
    let mut cluster = Cluster::new(arguments);
    (0..arguments.agents).for_each(|_| cluster.add_agent());
    let refusal = Refusal::For { ns: 3600 * 1_000_000_000 };
    let (_, cpu) = clock::cpu_of(|| {
        for _ in 0..arguments.frameworks {
            cluster.add_framework(false);
            cluster.release_all(refusal);
        }
    });
    report.detail(
        "every pair filtered, CPU us an offer and its decline",
        cpu.as_secs_f64() * 1e6 / pairs as f64,
    );
    report.detail("every pair filtered, refusals in force", cluster.refusal_count());
    // The process's memory would show what other phases have left to be used again.
    let mib = cluster.refusal_bytes() as f64 / f64::from(1 << 20);
    report.bar("every pair filtered, memory of the filters", mib, "MiB", (Better::Lower, 200.0));
    let (_, cpu) = clock::cpu_of(|| cluster.cycle());
    assert!(cluster.held.is_empty(), "everybody refuses everything");
    let ms = cpu.as_secs_f64() * 1e3;
    report.bar("every pair filtered, a cycle, CPU", ms, "ms", (Better::Lower, 10.0));
}
