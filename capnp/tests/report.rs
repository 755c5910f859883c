//! The usage report: what the agent builds the master reads, across versions, and whatever becomes of its bytes.

use model::id::ContainerId;
use model::time::UnixTime;
use model::usage::{ContainerUsage, NodeUsage, Source, Sources, Usage};
use wire::Incoming;
use wire::frame::HEADER_BYTES;
use wire::report::{Builder, Content, Members, Rows};

fn line(n: u64) -> ContainerUsage {
    ContainerUsage {
        container_id: format!("C{n}").as_str().into(),
        framework_id: "F-1".into(),
        executor_id: "E".into(),
        tasks: vec!["T1".into(), "T2".into()],
        is_final: false,
        usage: Usage {
            cpu_ns: n,
            memory_peak_bytes: u64::MAX,
            threads: 3,
            events_lost: n + 1,
            sources: Sources {
                cpu: Source::Bpf,
                memory: Source::Proc,
                life: Source::Cgroup,
                ..Sources::default()
            },
            ..Usage::default()
        },
    }
}

fn node() -> NodeUsage {
    NodeUsage { cpu_ns: 5, forks: 250, ..NodeUsage::default() }
}

fn hear<T>(frame: &[u8], see: impl FnOnce(&Content<'_>) -> T) -> T {
    let Ok(Incoming::Usage(report)) = wire::decode_to_master(&frame[HEADER_BYTES..]) else {
        panic!("not heard as a report")
    };
    see(&report.content().expect("well-formed"))
}

/// The lines that rows and their members are.
fn lines(members: Members<'_>, rows: &Rows<'_>, is_final: bool) -> Vec<Option<ContainerUsage>> {
    let members = members.iter().enumerate();
    let one = |(at, member): (usize, Result<Option<wire::report::Member<'_>>, _>)| {
        let member = member.expect("well-formed")?;
        let (words, sources) = rows.row(at).expect("as many as members");
        let tasks = member.tasks().expect("there");
        Some(ContainerUsage {
            container_id: member.container_id().expect("an id"),
            framework_id: member.framework_id().expect("an id"),
            executor_id: member.executor_id().expect("an id"),
            tasks: tasks.map(|task| task.expect("UTF-8").into()).collect(),
            is_final,
            usage: Usage::from_words(words, sources),
        })
    };
    members.map(one).collect()
}

#[test]
fn a_report_is_read_where_it_lies() {
    let all: Vec<_> = (0..1000).map(line).collect();
    let mut builder = Builder::default();
    let frame = builder.build(UnixTime(3), &node(), &all).expect("short enough");
    let payload = frame.as_ptr_range();
    hear(&frame, |content| {
        assert_eq!((content.sequence, content.timestamp), (1, UnixTime(3)));
        assert_eq!(content.node_usage(), Some(node()));
        let running = content.running.expect("told");
        let first = running.rows.parts().next().expect("rows");
        let cpu = first.column(running.rows.place(0).expect("not zero"));
        assert!(payload.contains(&cpu.as_ptr().cast()), "figures were copied");
        let words: usize = running.rows.parts().map(|part| part.words().len()).sum();
        assert_eq!(words, 4 * 1000, "what is zero does not travel");
        let members = running.members.expect("new to the session");
        assert_eq!(lines(members, &running.rows, false), all.into_iter().map(Some).collect::<Vec<_>>());
    });
}

#[test]
fn names_travel_when_they_are_new_to_the_session() {
    let mut builder = Builder::default();
    let told = |builder: &mut Builder, all: &[ContainerUsage]| {
        let frame = builder.build(UnixTime(1), &node(), all).expect("short enough");
        hear(&frame, |content| {
            let running = content.running.expect("told");
            let name = |line: Option<ContainerUsage>| line.map(|it| it.container_id.to_string());
            let names = running.members.map(|members| lines(members, &running.rows, false));
            let names = names.map(|lines| lines.into_iter().map(name).collect::<Vec<_>>());
            (running.layout, running.rows.len(), names)
        })
    };
    let name = |n: u64| Some(format!("C{n}"));
    let all = [line(0), line(1), line(2)];
    assert_eq!(told(&mut builder, &all), (1, 3, Some(vec![name(0), name(1), name(2)])));
    assert_eq!(told(&mut builder, &all), (1, 3, None));
    let order = [line(2), line(0), line(1)];
    assert_eq!(told(&mut builder, &order), (1, 3, None), "a container keeps its row");
    assert_eq!(told(&mut builder, &[line(0), line(2)]), (2, 3, Some(vec![name(0), None, name(2)])));
    let all = [line(0), line(2), line(7), line(8)];
    assert_eq!(told(&mut builder, &all), (3, 4, Some(vec![name(0), name(7), name(2), name(8)])));
    builder.session_began();
    assert_eq!(told(&mut builder, &all).0, 3);
    builder.session_began();
    let mut other = all.clone();
    other[0].tasks.pop();
    assert!(told(&mut builder, &other).2.is_some());
    assert_eq!(told(&mut builder, &other), (4, 4, None));
    let many: Vec<_> = (0..200).map(line).collect();
    assert_eq!(told(&mut builder, &many).1, 200);
    assert_eq!(told(&mut builder, &many[150..]).1, 50, "an agent that has emptied begins at its first rows");
}

#[test]
fn what_is_over_stands_on_its_own() {
    let mut builder = Builder::default();
    builder.build(UnixTime(1), &node(), &[line(1), line(2)]).expect("short enough");
    let over = ContainerUsage { is_final: true, ..line(2) };
    let frame = builder.build_final(UnixTime(2), std::slice::from_ref(&over)).expect("short enough");
    hear(&frame, |content| {
        assert!(content.running.is_none() && content.node_usage().is_none());
        assert_eq!(lines(content.over, &content.over_figures, true), vec![Some(over.clone())]);
    });
    let all = [over.clone(), line(1)];
    let frame = builder.build(UnixTime(3), &node(), &all).expect("short enough");
    hear(&frame, |content| {
        assert_eq!(lines(content.over, &content.over_figures, true), vec![Some(over)]);
        let running = content.running.expect("told");
        let members = running.members.expect("one is gone");
        assert_eq!(lines(members, &running.rows, false), vec![Some(line(1)), None]);
        assert_eq!(content.sequence, 3);
    });
}

/// Agents of other versions know fewer figures, or more, which stand behind ours.
#[test]
fn figures_of_other_versions_are_passed_over_or_zero() {
    let frame = Builder::default().build(UnixTime(1), &node(), &[line(4)]).expect("short enough");
    hear(&frame, |content| {
        let running = content.running.expect("told");
        let last = Usage::WORDS - 1;
        let words: [u64; Usage::WORDS] = running.rows.row(0).expect("one row").0;
        assert_eq!((words[0], words[last]), (4, 5));
        let (older, _) = running.rows.row::<{ Usage::WORDS - 1 }>(0).expect("one row");
        assert_eq!(older, words[..last], "a master that knows one figure less");
        let (newer, _) = running.rows.row::<{ Usage::WORDS + 60 }>(0).expect("one row");
        assert_eq!((&newer[..Usage::WORDS], &newer[Usage::WORDS..]), (&words[..], &[0; 60][..]));
    });
}

/// A peer may send anything; the worst it gets is an error. Bits are flipped and tails cut, and all is looked at.
#[test]
fn damaged_reports_are_refused_without_harm() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut all: Vec<_> = (0..20).map(line).collect();
    all.push(ContainerUsage { is_final: true, ..line(20) });
    let frame = Builder::default().build(UnixTime(1), &node(), &all).expect("short enough");
    let mut refused = 0;
    for _ in 0..20_000 {
        let mut payload = frame[HEADER_BYTES..].to_vec();
        let head = payload.len().min(1000);
        for _ in 0..random.usize(1..4) {
            payload[random.usize(..head)] ^= 1 << random.u8(..8);
        }
        payload.truncate(random.usize(payload.len() / 2..=payload.len()) / 8 * 8);
        let Ok(Incoming::Usage(report)) = wire::decode_to_master(&payload) else {
            refused += 1;
            continue;
        };
        match report.content() {
            Ok(content) => refused += usize::from(!is_well_formed(&content)),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 10_000, "only {refused} damaged reports were noticed");
}

/// Looks at everything there is.
fn is_well_formed(content: &Content<'_>) -> bool {
    let names = |members: Members<'_>| {
        members.iter().all(|member| {
            let Ok(member) = member else { return false };
            member.is_none_or(|it| {
                let ids = it.container_id().is_ok() && it.framework_id().is_ok() && it.executor_id().is_ok();
                ids && it.tasks().is_ok_and(|mut tasks| tasks.all(|task| task.is_ok()))
            })
        })
    };
    content.node_usage();
    let rows = content.running.iter().map(|running| &running.rows).chain([&content.over_figures]);
    for rows in rows {
        (0..=rows.len())
            .for_each(|at| assert_eq!(rows.row::<{ Usage::WORDS }>(at).is_some(), at < rows.len()));
    }
    names(content.over) && content.running.and_then(|running| running.members).is_none_or(names)
}

#[test]
fn a_name_that_is_no_id_is_refused() {
    let bad = ContainerUsage { container_id: ContainerId::new("../etc"), ..line(1) };
    let frame = Builder::default().build(UnixTime(1), &node(), &[bad]).expect("short enough");
    hear(&frame, |content| {
        let members = content.running.and_then(|running| running.members).expect("told");
        let member = members.iter().next().expect("one").expect("text").expect("named");
        assert!(member.container_id().is_err() && member.framework_id().is_ok());
    });
}
