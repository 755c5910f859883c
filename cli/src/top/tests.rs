//! What keys and readings do to the state.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::board::View;
use super::counters::Counters;
use super::draw::{Glyphs, draw};
use super::fixture::{Scene, reading};
use super::input::{Effect, Freshness, Input, Key};
use super::numbers::Figure;
use super::reading::Reading;

#[test]
fn tasks_are_ordered_by_what_they_use_and_ended_ones_left_out() {
    let mut scene = Scene::running(80, 24);
    let batch = "batch-of-a-very-long-name.0815-0816-0817";
    assert_eq!(scene.ids(), [batch, "web.4711", "idle", "new"], "what is not known comes last");
    scene.keys("r");
    assert_eq!(scene.ids(), ["new", "idle", "web.4711", batch]);
    scene.keys("ra");
    assert_eq!(scene.ids()[3..], ["new", "gone"]);
    scene.keys("N");
    assert_eq!(scene.ids(), [batch, "gone", "idle", "new", "web.4711"]);
    scene.keys("N");
    assert_eq!(scene.ids()[0], "web.4711", "the same letter once more turns it around");
    scene.keys("M>");
    assert_eq!(
        scene.state.list().sorted,
        super::columns::of(View::Tasks).iter().position(|it| it.key == Some('B')).expect("there")
    );
    scene.keys("Z");
    assert_eq!(scene.ids().len(), 5, "a letter of no column does nothing");
}

#[test]
fn the_selection_stays_with_its_row_once_somebody_made_it() {
    let mut scene = Scene::running(80, 24);
    assert_eq!(scene.state.list().selected, 0);
    scene.keys("r");
    assert_eq!(scene.state.list().selected, 0, "nobody selected a row: the first, whichever that is");
    scene.keys("jr");
    assert_eq!((scene.ids()[2], scene.state.list().selected), ("idle", 2));
    // A task that ended while it was selected leaves its place to the next.
    let mut later = reading(14);
    later.tasks.retain(|task| &*task.id != "idle");
    scene.handle(Input::Reading(Box::new(later)));
    assert_eq!((scene.ids()[2], scene.state.list().selected), ("new", 2));
    scene.keys("jjjjj");
    assert_eq!(scene.state.list().selected, 2, "there is nothing below the last");
    scene.key(Key::Home);
    scene.key(Key::Up);
    assert_eq!(scene.state.list().selected, 0);
}

#[test]
fn a_filter_is_typed_and_taken_back() {
    let mut scene = Scene::running(80, 24);
    scene.keys("/CRON");
    assert_eq!(scene.ids(), ["batch-of-a-very-long-name.0815-0816-0817", "idle"], "by the framework's name");
    scene.key(Key::Enter);
    scene.keys("q/");
    assert!(scene.state.is_typing, "a q that was typed before would have been a filter's");
    scene.key(Key::Control('u'));
    scene.keys("node-b");
    assert_eq!(scene.ids(), ["idle", "new"], "by the node's");
    scene.key(Key::Escape);
    assert_eq!((scene.ids().len(), &*scene.state.filter), (4, ""));
}

#[test]
fn entering_a_node_shows_its_tasks() {
    let mut scene = Scene::running(80, 24);
    scene.keys("1N");
    assert_eq!(scene.ids(), ["S1", "S2"], "the one that is away is left out");
    scene.keys("j");
    scene.key(Key::Enter);
    assert_eq!((scene.state.view, &*scene.state.filter), (View::Tasks, "node-b.example.com"));
    assert_eq!(scene.ids(), ["idle", "new"]);
}

#[test]
fn sums_are_of_the_tasks_and_a_shared_container_counts_once() {
    let mut scene = Scene::running(80, 24);
    let cpu =
        |scene: &Scene, view: View, at: usize| scene.state.board.rows(view)[at].numbers.get(Figure::Cpu);
    assert_eq!(cpu(&scene, View::Nodes, 0), Some(4.75));
    assert_eq!(cpu(&scene, View::Frameworks, 1), Some(3.25));
    let totals = &scene.state.board.totals;
    assert_eq!(
        (totals.numbers.get(Figure::Cpu), totals.tasks_alive, totals.nodes_active),
        (Some(4.75), 4, 2)
    );
    assert_eq!(scene.state.board.nodes[0].numbers.get(Figure::Tasks), Some(2.0));
    // Both tasks of F2 that run, in one executor on one node.
    for second in [14, 16] {
        let mut later = reading(second);
        for task in later.tasks.iter_mut().filter(|task| task.framework == 1 && task.state.is_alive()) {
            (task.executor, task.node) = ("shared".into(), Some(0));
            task.counters = reading(second).tasks[1].counters;
        }
        scene.handle(Input::Reading(Box::new(later)));
    }
    assert_eq!(cpu(&scene, View::Frameworks, 1), Some(1.5));
}

#[test]
fn a_task_looked_at_is_asked_for_at_its_agent_until_it_ends() {
    let mut scene = Scene::running(80, 24);
    let effects = scene.key(Key::Enter);
    let [Effect::Watch(None), Effect::Watch(Some(watch))] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((&*watch.agent, &*watch.framework), ("node-a.example.com:5051", "F2"));
    assert!(watch.container.starts_with("container-of-batch"));
    scene.told(watch, 10);
    scene.told(watch, 12);
    let detail = |scene: &Scene| {
        let detail = scene.state.detail.as_ref().expect("open");
        (detail.newest.is_some(), detail.before.is_some(), detail.error.clone())
    };
    assert_eq!(detail(&scene), (true, true, None));
    scene.handle(Input::Insight(watch.clone(), Err("cannot connect".to_owned())));
    assert_eq!(detail(&scene), (true, true, Some("cannot connect".to_owned())), "what was known stays");
    let other = super::input::Watch { container: "other".into(), ..watch.clone() };
    scene.handle(Input::Insight(other, Err("of another".to_owned())));
    assert_eq!(detail(&scene).2.as_deref(), Some("cannot connect"), "an answer that comes late is another's");
    // The task ends: its agent is not asked any more, and what was last seen stays.
    let mut later = reading(14);
    later.tasks.retain(|task| !task.id.starts_with("batch"));
    assert_eq!(scene.handle(Input::Reading(Box::new(later))), [Effect::Watch(None)]);
    assert_eq!(detail(&scene), (true, true, None));
    assert_eq!(scene.key(Key::Escape), [Effect::Watch(None)]);
    assert!(scene.state.detail.is_none());
}

#[test]
fn a_master_that_is_away_makes_it_stale_and_a_pause_does_not() {
    let mut scene = Scene::running(80, 24);
    let at = |seconds| Duration::from_secs(seconds);
    assert_eq!(scene.state.stale_since(at(18)), None);
    assert_eq!(scene.state.stale_since(at(19)), Some(at(12)), "an answer is overdue");
    scene.handle(Input::Unreadable("why".to_owned()));
    assert_eq!(scene.state.stale_since(at(13)), Some(at(12)));
    scene.read(20);
    assert_eq!((&scene.state.freshness, scene.state.stale_since(at(21))), (&Freshness::Fresh, None));
    assert_eq!(scene.key(Key::Char(' ')), []);
    scene.read(22);
    assert_eq!((scene.state.board.at, scene.state.stale_since(at(99))), (Some(at(20)), None));
    assert_eq!(scene.key(Key::Char(' ')), [Effect::Refresh]);
}

#[test]
fn an_agent_that_falls_silent_is_not_taken_for_one_whose_tasks_go_on() {
    let mut scene = Scene::running(80, 24);
    let effects = scene.key(Key::Enter);
    let Some(Effect::Watch(Some(watch))) = effects.last() else { panic!("{effects:?}") };
    scene.told(watch, 12);
    let cpu = |scene: &Scene| scene.state.board.tasks[4].numbers.get(Figure::Cpu);
    let mut known = Vec::new();
    for second in [14, 16, 18, 20, 22] {
        let mut same = reading(second);
        for task in &mut same.tasks {
            task.counters = task.counters.map(|it| Counters { at: Some(Duration::from_secs(12)), ..it });
        }
        scene.handle(Input::Reading(Box::new(same)));
        known.push(cpu(&scene).is_some());
    }
    assert_eq!(
        known,
        [true, true, true, true, false],
        "the first is new, three repeat it, then it is too old"
    );
    assert_eq!(scene.state.silent_for(), Some(Duration::from_secs(10)));
    scene.told(watch, 22);
    assert_eq!(scene.state.silent_for(), None);
}

#[test]
fn keys_that_end_or_stop_it_work_everywhere() {
    let mut scene = Scene::running(80, 24);
    assert_eq!(scene.key(Key::Char('q')), [Effect::Quit]);
    scene.keys("/");
    assert_eq!(scene.key(Key::Control('c')), [Effect::Quit]);
    scene.key(Key::Escape);
    scene.keys("?");
    assert_eq!(scene.key(Key::Control('z')), [Effect::Suspend]);
    assert_eq!(scene.key(Key::Char('q')), [], "leaves the help");
    scene.key(Key::Enter);
    assert_eq!(scene.key(Key::Char('q')), [Effect::Quit]);
}

/// A large cluster: 2,000 nodes, 100,000 tasks.
fn large(second: u64) -> Reading {
    let template = reading(second);
    let counters: Option<Counters> = template.tasks.iter().find_map(|task| task.counters);
    let mut large = Reading { at: Duration::from_secs(second), ..Reading::default() };
    large.frameworks = template.frameworks;
    large.nodes = (0..2_000_u32)
        .map(|at| super::reading::Node {
            id: format!("S{at:05}").into(),
            host: format!("node-{at}.example.com").into(),
            address: "".into(),
            is_active: true,
            total: Default::default(),
            allocated: Default::default(),
            counters: None,
        })
        .collect();
    large.tasks = (0..100_000_u32)
        .map(|at| {
            let mut counters = counters.expect("one is measured");
            counters.usage.cpu_ns += u64::from(at.wrapping_mul(2_654_435_761) >> 8) * second;
            super::reading::Task {
                framework: at / 34_000,
                node: Some(at % 2_000),
                id: format!("task.{at:06}").into(),
                executor: "".into(),
                container: format!("container-{at}").into(),
                state: super::reading::TaskState("running"),
                asked: Default::default(),
                counters: Some(counters),
            }
        })
        .collect();
    large
}

/// However many tasks there are, only those on the screen are formatted; and a reading, a sort, a filter and a frame are
/// quick enough that keys do not wait: tens of milliseconds with optimisation; the bounds are for none, on a busy machine.
#[test]
#[expect(clippy::disallowed_methods, reason = "measures how long it takes")]
fn a_hundred_thousand_tasks_do_not_keep_the_keyboard_waiting() {
    let mut scene = Scene::new(140, 40);
    let readings = [large(10), large(12)];
    let mut took = Vec::new();
    let mut timed = |name, scene: &mut Scene, act: &mut dyn FnMut(&mut Scene)| {
        let begun = std::time::Instant::now();
        act(scene);
        took.push((name, begun.elapsed()));
    };
    for it in readings {
        let mut it = Some(Box::new(it));
        timed("reading", &mut scene, &mut |scene| {
            drop(scene.handle(Input::Reading(it.take().expect("once"))))
        });
    }
    timed("sort by number", &mut scene, &mut |scene| scene.keys("M"));
    timed("sort by text", &mut scene, &mut |scene| scene.keys("H"));
    scene.keys("/");
    for letter in "node-77".chars() {
        timed("filter", &mut scene, &mut |scene| drop(scene.key(Key::Char(letter))));
    }
    timed("step", &mut scene, &mut |scene| drop(scene.key(Key::PageDown)));
    let mut buffer = Buffer::empty(Rect { x: 0, y: 0, width: 140, height: 40 });
    let mut formatted = 0;
    timed("frame", &mut scene, &mut |scene| {
        formatted = draw(&scene.state, scene.now, Glyphs::UNICODE, &mut buffer)
    });
    assert_eq!(formatted, usize::from(super::layout::Layout::of(140, 40).rows.height), "rows formatted");
    assert_eq!(scene.ids().len(), 11 * 50, "of the nodes 77 and 770 to 779");
    println!("{took:?}");
    for (name, took) in took {
        assert!(took < Duration::from_secs(15), "{name} took {took:?}");
    }
}
