//! Reports of made-up agents, and what the table says of them.

use super::*;
use model::id::ContainerId;
use model::usage::{ContainerUsage, Source, Sources};
use std::collections::BTreeMap;
use wire::frame::HEADER_BYTES;
use wire::report::Builder;
use wire::{Incoming, WireError};

/// An agent and its session.
#[derive(Default)]
struct Agent {
    builder: Builder,
    block: Block,
    /// Seconds of 1970.
    second: u64,
    heard: Vec<Event>,
    rows: BTreeMap<String, Row>,
}

fn usage(n: u64) -> Usage {
    Usage {
        cpu_ns: n * 1_000,
        memory_current_bytes: 100 + n,
        memory_peak_bytes: 200 + n,
        net_rx_bytes: n * 3,
        net_tx_bytes: n * 7,
        run_queue_p99_ns: 40 + n,
        events_lost: n,
        sources: Sources { cpu: Source::Bpf, life: Source::Proc, ..Sources::default() },
        ..Usage::default()
    }
}

fn line(name: impl std::fmt::Display, n: u64) -> ContainerUsage {
    ContainerUsage {
        container_id: ContainerId::new(name.to_string()),
        framework_id: "F".into(),
        executor_id: format!("E-{name}").as_str().into(),
        tasks: Vec::new(),
        is_final: false,
        usage: usage(n),
    }
}

fn over(name: impl std::fmt::Display, n: u64) -> ContainerUsage {
    ContainerUsage { is_final: true, ..line(name, n) }
}

fn node(n: u64) -> NodeUsage {
    NodeUsage { cpu_ns: n, memory_total_bytes: 1_000, memory_available_bytes: 400, ..NodeUsage::default() }
}

impl Agent {
    fn new() -> Self {
        Self { second: 1_000_000, ..Self::default() }
    }

    fn give(&mut self, writer: &mut Writer, frame: &[u8]) -> Result<(), WireError> {
        let Incoming::Usage(report) = wire::decode_to_master(&frame[HEADER_BYTES..])? else {
            panic!("a report")
        };
        let heard = &mut self.heard;
        writer.record(&mut self.block, &report, &mut |event| heard.push(event))?;
        for event in &self.heard {
            if let Event::Appeared { container_id, row, .. } = event {
                self.rows.insert(container_id.to_string(), *row);
            }
        }
        Ok(())
    }

    /// A second passes, and a report is given; what the core hears of it.
    fn report(&mut self, writer: &mut Writer, lines: &[ContainerUsage]) -> Vec<Event> {
        self.second += 1;
        let now = UnixTime(self.second * 1_000_000);
        let frame = self.builder.build(now, &node(self.second), lines).expect("short enough");
        self.give(writer, &frame).expect("well-formed");
        std::mem::take(&mut self.heard)
    }

    fn finish(&mut self, writer: &mut Writer, line: ContainerUsage) -> Vec<Event> {
        let frame = self.builder.build_final(UnixTime(self.second * 1_000_000), &[line]);
        self.give(writer, &frame.expect("short enough")).expect("well-formed");
        std::mem::take(&mut self.heard)
    }

    fn reconnect(&mut self, writer: &mut Writer) {
        writer.session_ended(std::mem::take(&mut self.block));
        self.builder.session_began();
    }

    fn row(&self, name: impl std::fmt::Display) -> Row {
        self.rows[&name.to_string()]
    }
}

fn shown(table: &Table, row: Row) -> Option<(u64, bool)> {
    table.read(row).map(|it| (it.usage.events_lost, it.is_final))
}

#[test]
fn figures_stand_where_the_core_was_told() {
    let (mut writer, table) = table();
    let mut agent = Agent::new();
    let lines: Vec<_> = (0..20).map(|n| line(n, n)).collect();
    let heard = agent.report(&mut writer, &lines);
    assert_eq!(heard.len(), 21, "twenty containers and the node");
    let Some(Event::Node(node_row)) = heard.last() else { panic!("{heard:?}") };
    for n in 0..20 {
        assert_eq!(table.read(agent.row(n)), Some(Figures { usage: usage(n), is_final: false }));
    }
    let node_figures = table.node(*node_row).expect("told");
    assert_eq!((node_figures.usage, node_figures.timestamp), (node(1_000_001), UnixTime(1_000_001_000_000)));
    let lines: Vec<_> = (0..20).map(|n| line(n, 2 * n)).collect();
    assert_eq!(agent.report(&mut writer, &lines), [], "nothing new for the core");
    assert_eq!(table.read(agent.row(19)).expect("told").usage, usage(38));
}

/// What was not zero and is so now is left out of the message.
#[test]
fn figures_that_become_zero_are_zero() {
    let (mut writer, table) = table();
    let mut agent = Agent::new();
    agent.report(&mut writer, &[line(0, 5), line(1, 6)]);
    let mut second = line(1, 7);
    second.usage.run_queue_p99_ns = 0;
    agent.report(&mut writer, &[line(0, 6), second.clone()]);
    assert_eq!(table.read(agent.row(1)).expect("told").usage, second.usage);
    let mut first = line(0, 8);
    first.usage.run_queue_p99_ns = 0;
    agent.report(&mut writer, &[first.clone(), second]);
    assert_eq!(table.read(agent.row(0)).expect("told").usage, first.usage);
}

#[test]
fn last_figures_stay_while_others_take_the_row() {
    let (mut writer, table) = table();
    let mut agent = Agent::new();
    agent.report(&mut writer, &[line("a", 1), line("b", 2)]);
    let a = agent.row("a");
    let heard = agent.finish(&mut writer, over("a", 9));
    assert_eq!(heard, [Event::Over { framework_id: "F".into(), executor_id: "E-a".into(), row: a }]);
    assert_eq!(shown(&table, a), Some((9, true)));
    assert_eq!(table.history(a), None);
    assert_eq!(agent.finish(&mut writer, over("a", 10)), [], "said twice");
    // The agent may name it for a moment longer, beside others.
    assert_eq!(agent.report(&mut writer, &[line("a", 9), line("b", 3), line("c", 1)]).len(), 1);
    assert_eq!(shown(&table, a), Some((9, true)));
    agent.report(&mut writer, &[line("d", 4), line("b", 4), line("c", 4)]);
    assert_eq!((shown(&table, a), shown(&table, agent.row("d"))), (Some((9, true)), Some((4, false))));
    writer.release(a);
    let heard = agent.finish(&mut writer, over("too short for a look", 3));
    assert_eq!(heard.len(), 2, "it appears and is over: {heard:?}");
    assert_eq!((shown(&table, a), shown(&table, agent.row("too short for a look"))), (None, Some((3, true))));
}

#[test]
fn what_is_no_longer_named_is_over_without_last_figures() {
    let (mut writer, table) = table();
    let mut agent = Agent::new();
    agent.report(&mut writer, &[line("a", 1), line("b", 2)]);
    let a = agent.row("a");
    let heard = agent.report(&mut writer, &[line("b", 3)]);
    assert_eq!(heard, [Event::Over { framework_id: "F".into(), executor_id: "E-a".into(), row: a }]);
    assert_eq!(shown(&table, a), Some((1, false)));
}

/// Nobody shows it, since its framework is unknown: it is not offered to the core at every report.
#[test]
fn a_row_that_is_forgotten_is_not_written_and_not_announced_again_at_once() {
    let (mut writer, table) = table();
    let mut agent = Agent::new();
    agent.report(&mut writer, &[line("a", 1), line("b", 1)]);
    let a = agent.row("a");
    writer.release(a);
    assert_eq!(agent.report(&mut writer, &[line("a", 2), line("b", 2)]), []);
    assert_eq!(shown(&table, a), None);
    assert_eq!(agent.finish(&mut writer, over("a", 3)), []);
    let heard = agent.report(&mut writer, &[line("b", 4), line("c", 4)]);
    assert!(matches!(&heard[..], [Event::Appeared { container_id, .. }] if container_id.as_str() == "c"));
    writer.release(agent.row("b"));
    let heard = agent.report(&mut writer, &[line("b", 5), line("c", 5), line("d", 5)]);
    assert_eq!(heard.len(), 2, "b is offered again when others come: {heard:?}");
    writer.release(agent.row("b"));
    writer.release(agent.row("b"));
    agent.report(&mut writer, &[line("b", 6), line("c", 6), line("d", 6)]);
    assert_eq!(shown(&table, agent.row("d")), Some((6, false)), "released twice, freed once");
}

#[test]
fn history_is_of_rates_and_goes_on_when_the_agent_comes_back() {
    let (mut writer, table) = table();
    let mut agent = Agent::new();
    let heard = (1..=30).flat_map(|n| agent.report(&mut writer, &[line("a", n)])).collect::<Vec<_>>();
    let Some(Event::Node(node_row)) = heard.last().cloned() else { panic!("{heard:?}") };
    let [seconds, quarters, _] = table.history(agent.row("a")).expect("it runs");
    let sample = |n: u64, is_first: bool| Sample {
        cpu_ns: (!is_first).then_some(1_000),
        memory_bytes: Some(100 + n),
        network_bytes: (!is_first).then_some(10),
        run_queue_ns: Some(40 + n),
    };
    assert_eq!(seconds.samples, (1..=30).map(|n| sample(n, n == 1)).collect::<Vec<_>>());
    assert_eq!((seconds.end, quarters.samples.len()), (UnixTime(1_000_031_000_000), 2));
    let before = agent.row("a");
    agent.reconnect(&mut writer);
    agent.block.keep_node(node_row);
    assert_eq!(shown(&table, before), Some((30, false)), "while it is away");
    agent.second += 9;
    assert_eq!(agent.report(&mut writer, &[line("b", 1), line("a", 40)]).len(), 2, "its node is known");
    assert_eq!(agent.report(&mut writer, &[line("b", 2), line("a", 41)]), []);
    let now = agent.row("a");
    assert_ne!(now, before, "the core is told where it is now");
    let [seconds, ..] = table.history(now).expect("it runs");
    assert_eq!((seconds.samples.len(), seconds.samples[29]), (41, sample(30, false)));
    assert_eq!(seconds.samples[30..39], [Sample::default(); 9]);
    assert_eq!(seconds.samples[39..], [sample(40, true), sample(41, false)]);
    assert_eq!(table.history(agent.row("b")).expect("it runs")[0].samples.len(), 2);
    let [seconds, ..] = table.node_history(node_row).expect("told");
    assert_eq!((seconds.samples.len(), seconds.samples[40].cpu_ns), (41, Some(1)));
    assert_eq!(seconds.samples[40].memory_bytes, Some(600));
    writer.release(before);
    assert_eq!(shown(&table, now), Some((41, false)));
}

/// The agent lost its pins, or its machine's clock.
#[test]
fn counters_do_not_step_back_when_an_agent_begins_anew() {
    let (mut writer, table) = table();
    let mut agent = Agent::new();
    agent.report(&mut writer, &[line("a", 50), line("b", 50)]);
    agent.reconnect(&mut writer);
    // A new process: sequence and layout begin anew.
    (agent.builder, agent.second) = (Builder::default(), 999_000);
    agent.report(&mut writer, &[line("a", 3), line("b", 60)]);
    let usage = table.read(agent.row("a")).expect("told").usage;
    assert_eq!((usage.cpu_ns, usage.memory_peak_bytes), (50_000, 250));
    assert_eq!(usage.memory_current_bytes, 103, "a gauge goes as it goes");
    agent.report(&mut writer, &[line("a", 4), line("b", 40)]);
    assert_eq!(shown(&table, agent.row("a")), Some((50, false)));
    assert_eq!(shown(&table, agent.row("b")), Some((40, false)), "an agent in one session does as it says");
    agent.reconnect(&mut writer);
    agent.finish(&mut writer, over("a", 7));
    assert_eq!(shown(&table, agent.row("a")), Some((50, true)));
}

#[test]
fn containers_that_change_rows_keep_their_figures_and_histories() {
    let (mut writer, table) = table();
    let mut agent = Agent::new();
    (1..=5)
        .for_each(|n| drop(agent.report(&mut writer, &[line("a", n), line("b", 10 + n), line("c", 20 + n)])));
    let old: Vec<_> = ["a", "b", "c"].map(|name| agent.row(name)).into();
    // Another process of the agent has them in another order.
    agent.builder = Builder::default();
    (0..6).for_each(|_| drop(agent.builder.build_final(UnixTime(1), &[])));
    let heard = agent.report(&mut writer, &[line("c", 27), line("b", 17), line("a", 7)]);
    assert_eq!(heard.len(), 3);
    for (name, n) in [("a", 7), ("b", 17), ("c", 27)] {
        assert_eq!(shown(&table, agent.row(name)), Some((n, false)), "{name}");
        assert_eq!(table.history(agent.row(name)).expect("it runs")[0].samples.len(), 6, "{name}");
    }
    old.into_iter().for_each(|row| writer.release(row));
    agent.report(&mut writer, &[line("c", 28), line("b", 18), line("a", 8)]);
    assert_eq!(shown(&table, agent.row("a")), Some((8, false)));
}

#[test]
fn reports_that_contradict_themselves_or_the_session_are_refused_or_passed_over() {
    let (mut writer, table) = table();
    let mut agent = Agent::new();
    let now = UnixTime(5_000_000);
    let mut other = Builder::default();
    other.build(now, &node(1), &[line("a", 1)]).expect("short enough");
    let nameless = other.build(now, &node(1), &[line("a", 2)]).expect("short enough");
    assert!(agent.give(&mut writer, &nameless).is_err(), "whose are they?");
    let mut agent = Agent::new();
    agent.report(&mut writer, &[line("a", 5)]);
    let old = Builder::default().build(now, &node(1), &[line("a", 1)]).expect("short enough");
    agent.give(&mut writer, &old).expect("passed over");
    assert_eq!(shown(&table, agent.row("a")), Some((5, false)));
    let twice = agent.builder.build(now, &node(1), &[line("x", 1), line("y", 1)]).expect("short enough");
    let at = twice.windows(4).position(|it| it == b"E-y\0").expect("there");
    let name = twice[at - 16..at].iter().rposition(|byte| *byte == b'y').expect("there");
    let mut twice = twice.clone();
    twice[at - 16 + name] = b'x';
    assert!(agent.give(&mut writer, &twice).is_err(), "a container has one row");
    assert_eq!(shown(&table, agent.row("a")), Some((5, false)), "and nothing is changed");
}

/// However many come and go, and agents with them, the table is as large as there were at once.
/// The one too many is unknown, and counted once; the others do not notice, and who comes back when there is room has it.
#[test]
fn a_full_table_counts_whom_it_refuses_and_harms_nobody() {
    let (mut writer, table) = table_for(Room { rows: 2 * BANK_ROWS, nodes: 1 });
    let (mut early, mut late) = (Agent::new(), Agent::new());
    let fills: Vec<_> = (0..16).map(|n| line(n, n)).collect();
    early.report(&mut writer, &fills);
    assert_eq!(table.refused(), 0);
    let too_many = [line("x", 1), line("y", 2), line("z", 3)];
    assert_eq!(late.report(&mut writer, &too_many), [], "nobody is told of rows that are not there");
    assert_eq!(table.refused(), 4, "three containers and their node");
    late.report(&mut writer, &too_many);
    assert_eq!(table.refused(), 4, "not once a report");
    late.finish(&mut writer, over("x", 9));

    let more: Vec<_> = (0..16).map(|n| line(n, 2 * n)).collect();
    early.report(&mut writer, &more);
    for n in 0..16 {
        assert_eq!(table.read(early.row(n)), Some(Figures { usage: usage(2 * n), is_final: false }));
    }
    early.reconnect(&mut writer);
    (0..16).for_each(|n| writer.release(early.row(n)));
    late.reconnect(&mut writer);
    assert_eq!(late.report(&mut writer, &too_many[1..]).len(), 2, "the node still has no room");
    assert_eq!(shown(&table, late.row("y")), Some((2, false)));
    assert_eq!(table.refused(), 5);
}

#[test]
fn the_table_does_not_grow_with_containers_that_come_and_go() {
    let (mut writer, table) = table();
    let mut agents: Vec<_> = (0..10).map(|_| Agent::new()).collect();
    let mut random = fastrand::Rng::with_seed(1);
    let mut running: Vec<Vec<u64>> = vec![Vec::new(); agents.len()];
    let mut nodes = vec![None; agents.len()];
    let mut shown_rows = std::collections::VecDeque::new();
    let mut next = 0;
    let mut size = None;
    for round in 0..4_000_u64 {
        let at = random.usize(..agents.len());
        let (agent, mine) = (&mut agents[at], &mut running[at]);
        if random.u8(..) < 8 {
            agent.reconnect(&mut writer);
        }
        while mine.len() < 20 {
            next += 1;
            mine.push(next);
        }
        let ended = mine.swap_remove(random.usize(..mine.len()));
        let lines: Vec<_> = mine.iter().map(|name| line(name, *name)).collect();
        if random.bool() {
            let before = agent.rows.get(&ended.to_string()).copied();
            agent.finish(&mut writer, over(ended, ended));
            if let Some(before) = before.filter(|before| *before != agent.row(ended)) {
                writer.release(before);
            }
        }
        let old = agent.rows.clone();
        for event in agent.report(&mut writer, &lines) {
            // The core: forgets where a container or node was, and shows the last hundred that are over.
            match event {
                Event::Appeared { container_id, row, .. } => {
                    let before = old.get(container_id.as_str()).filter(|before| **before != row);
                    before.into_iter().for_each(|before| writer.release(*before));
                }
                Event::Node(row) => nodes[at].replace(row).into_iter().for_each(|it| writer.release_node(it)),
                Event::Over { .. } => {}
            }
        }
        for name in mine.iter() {
            assert_eq!(shown(&table, agent.row(name)), Some((*name, false)), "round {round}");
        }
        if let Some(row) = agent.rows.remove(&ended.to_string()) {
            shown_rows.push_back(row);
        }
        while shown_rows.len() > 100 {
            writer.release(shown_rows.pop_front().expect("some"));
        }
        if round == 1_000 {
            size = Some((format!("{table:?}"), writer.sizes()));
        }
    }
    let (made, sizes) = size.expect("long enough");
    assert_eq!(format!("{table:?}"), made);
    let [rows, banks, last] = writer.sizes();
    assert!(
        rows <= sizes[0] + 64 && banks <= sizes[1] + 8 && last <= sizes[2] + 64,
        "{rows} rows, {banks} banks, {last} last; {sizes:?} before"
    );
    assert!(next > 4_000);
}

/// A torn read would show a `cpu_ns` of one report beside the lost events of another; a lost one nothing.
#[test]
fn a_reader_never_sees_half_of_a_report() {
    const REPORTS: u64 = 30_000;
    let (mut writer, table) = table();
    let mut agent = Agent::new();
    agent.report(&mut writer, &[line("a", 0), line("b", 0)]);
    let row = agent.row("b");
    let reader = std::thread::spawn(move || {
        let mut last = 0;
        while last < REPORTS {
            let seen = table.read(row).expect("it is always somewhere").usage;
            assert_eq!(seen, usage(seen.events_lost));
            assert!(seen.events_lost >= last, "time went back");
            last = seen.events_lost;
            if let Some([seconds, ..]) = table.history(row) {
                assert!(seconds.samples.windows(2).all(|two| two[0].memory_bytes <= two[1].memory_bytes));
            }
        }
    });
    (1..REPORTS).for_each(|n| drop(agent.report(&mut writer, &[line("a", n), line("b", n)])));
    agent.finish(&mut writer, over("b", REPORTS));
    (1..100).for_each(|n| drop(agent.report(&mut writer, &[line("a", REPORTS), line(format!("c{n}"), n)])));
    reader.join().expect("the reader saw whole reports");
}
