//! The controller through whole episodes, on a clock that is driven.

use super::*;

const TARGETS: Targets = Targets {
    wait_p99_ns: Some(10 * MS),
    pressure_permille: Some(200),
    headroom_bytes: Some(1 << 30),
    kill_after_ns: 200 * MS,
};

/// A machine with one firm container, `web`, and two lent ones.
struct Machine {
    controller: Controller,
    time: Time,
    look: Look,
}

impl Machine {
    fn new(targets: Targets, can_squeeze: bool) -> Self {
        let lent = |name: &str, began: u64, cpu_ms: u64| Lent {
            container_id: ContainerId::new(name),
            began: Time(began),
            cpu_ns: cpu_ms * MS,
            memory_bytes: 400 << 20,
        };
        let firm = Firm {
            container_id: ContainerId::new("web"),
            waits: Some(Latency::default()),
            stalled_ns: Some(0),
        };
        let look = Look {
            firm: vec![firm],
            lent: vec![lent("old", 1, 90_000), lent("young", 2, 30)],
            available_bytes: Some(4 << 30),
        };
        Self { controller: Controller::new(targets, can_squeeze), time: Time::from_ms(1_000), look }
    }

    /// For so many milliseconds, looks in which the firm container's threads wait for that part of the time and once a
    /// millisecond for so long; what is done about it, with when.
    fn run(&mut self, ms: u64, stalled_permille: u64, wait_ns: Option<u64>) -> Vec<(u64, Action)> {
        let (mut done, began) = (Vec::new(), self.time);
        for _ in 0..ms * MS / LOOK_NS {
            self.time = self.time.plus_ns(LOOK_NS);
            let firm = &mut self.look.firm[0];
            firm.stalled_ns = firm.stalled_ns.map(|it| it + LOOK_NS / 1000 * stalled_permille);
            if let (Some(waits), Some(ns)) = (&mut firm.waits, wait_ns) {
                (0..20).for_each(|_| waits.record(ns));
            }
            let mut actions = Vec::new();
            let now = Now { time: self.time, unix: UnixTime(self.time.0 / 1000) };
            self.controller.look(now, &self.look, &mut actions);
            let at = (self.time.0 - began.0) / MS;
            done.extend(actions.into_iter().map(|action| (at, action)));
        }
        done
    }

    fn quiet(&mut self, ms: u64) -> Vec<(u64, Action)> {
        self.run(ms, 0, Some(50_000))
    }

    fn last(&self) -> &Decision {
        self.controller.record().decisions.back().expect("something was decided")
    }
}

fn hold(share_permille: u64) -> Action {
    Action::Hold { share_permille }
}

#[test]
fn a_missed_target_is_answered_at_the_next_look_and_step_by_step() {
    let mut machine = Machine::new(TARGETS, false);
    assert_eq!(machine.quiet(500), []);
    let done = machine.run(140, 300, Some(50_000));
    let first = done.first().expect("something").clone();
    // Of the last 100 ms more than 200 permille: 80 quiet ones and 20 at 300 are not, yet.
    assert_eq!(first, (80, hold(500)), "{done:?}");
    assert!(machine.controller.record().decisions[0].is_first);
    assert_eq!(done[1..], [(120, hold(250))]);
    let done = machine.run(160, 300, Some(50_000));
    assert_eq!(done, [(20, hold(100)), (60, hold(0))]);
    assert_eq!(machine.last().step, Step::Freeze);
    assert!(!machine.last().is_first);
}

#[test]
fn one_that_is_missed_by_far_is_answered_by_larger_steps() {
    let mut machine = Machine::new(TARGETS, false);
    machine.quiet(5_020);
    let done = machine.run(140, 1000, Some(50_000));
    assert_eq!(done, [(40, hold(500)), (80, hold(100)), (120, hold(0))]);
    // However long it was at rest before.
    assert!(machine.controller.record().decisions[0].is_first);
}

#[test]
fn long_waits_count_though_nothing_stalls_and_a_single_one_does_not() {
    let mut machine = Machine::new(TARGETS, false);
    machine.quiet(500);
    let waits = machine.look.firm[0].waits.as_mut().expect("counted");
    waits.record(50 * MS);
    assert_eq!(machine.quiet(100), []);
    let done = machine.run(20, 0, Some(40 * MS));
    assert_eq!(done.len(), 1);
    let told = machine.last().cause.clone().expect("a cause");
    assert!(matches!(told, Cause::Waits { p99_ns, .. } if p99_ns > 30 * MS), "{told:?}");
    assert!(told.to_string().ends_with("(target 10.0 ms)"), "{told}");
}

#[test]
fn what_stays_missed_though_all_is_frozen_costs_one_after_the_other_the_cheapest_first() {
    let mut machine = Machine::new(TARGETS, false);
    machine.quiet(500);
    let done = machine.run(700, 1000, None);
    let kills: Vec<_> = done.iter().filter(|(_, it)| matches!(it, Action::Kill { .. })).collect();
    // The victim does not go, and nobody else pays for that, for a while.
    let [(at, Action::Kill { container_id, message })] = &kills[..] else { panic!("{done:?}") };
    assert_eq!((*at, container_id.as_str()), (320, "young"));
    let expect = "Preempted: it ran on revocable resources, and a regular container waited for a CPU 100.0 % of the \
                  time (target 20.0 %)";
    assert_eq!(message, expect);
    machine.look.lent.pop();
    let done = machine.run(40, 1000, None);
    assert!(matches!(&done[..], [(20, Action::Kill { container_id, .. })] if container_id.as_str() == "old"));
    machine.look.lent.clear();
    assert_eq!(machine.run(100, 1000, None), []);
    assert_eq!(machine.controller.share_permille(), 1000);
    assert_eq!(machine.controller.record().counts[&Step::KillForCpu], 2);
}

#[test]
fn what_was_taken_is_given_back_step_by_step_and_later_after_a_relapse() {
    let mut machine = Machine::new(TARGETS, false);
    machine.quiet(500);
    machine.run(140, 1000, None);
    let times = |done: Vec<(u64, Action)>| done.into_iter().map(|(at, _)| at).collect::<Vec<_>>();
    let back = machine.quiet(5_000);
    let shares: Vec<_> = back.iter().map(|(_, it)| it.clone()).collect();
    assert_eq!(shares, [hold(100), hold(250), hold(500), hold(1000)]);
    let first = times(back);
    assert!(first.windows(2).all(|two| two[1] - two[0] == 1_000), "{first:?}");
    machine.run(40, 1000, None);
    let back = times(machine.quiet(10_000));
    assert!(back[0] > 1_900, "{back:?}");
    // Long at rest, it is as quick as it was.
    machine.quiet(60_000);
    machine.run(100, 1000, None);
    let back = times(machine.quiet(10_000));
    assert!(back[0] < 1_200, "{back:?}");
}

#[test]
fn without_figures_of_the_kernel_lent_containers_stay_at_rest() {
    let mut machine = Machine::new(TARGETS, true);
    machine.look.firm[0] = Firm { waits: None, stalled_ns: None, ..machine.look.firm[0].clone() };
    machine.look.available_bytes = None;
    assert_eq!(machine.run(2_000, 1000, Some(50 * MS)), []);
    // PSI is off, and programs count waits: these suffice, and the other way round.
    machine.look.firm[0].waits = Some(Latency::default());
    assert!(!machine.run(200, 1000, Some(50 * MS)).is_empty());
    let mut machine = Machine::new(TARGETS, false);
    machine.look.firm[0].waits = None;
    machine.quiet(200);
    assert!(!machine.run(100, 1000, None).is_empty());
}

#[test]
fn targets_that_are_not_set_are_not_missed() {
    let none = Targets { wait_p99_ns: None, pressure_permille: None, headroom_bytes: None, kill_after_ns: 0 };
    let mut machine = Machine::new(none, true);
    machine.look.available_bytes = Some(0);
    assert_eq!(machine.run(1_000, 1000, Some(50 * MS)), []);
}

#[test]
fn memory_is_squeezed_where_that_can_be_and_then_the_cheapest_that_holds_enough_is_killed() {
    let mut machine = Machine::new(TARGETS, true);
    machine.quiet(500);
    machine.look.available_bytes = Some((1 << 30) - (200 << 20));
    let done = machine.quiet(40);
    let squeeze =
        |name: &str, memory_bytes| Action::Squeeze { container_id: ContainerId::new(name), memory_bytes };
    assert_eq!(done, [(20, squeeze("old", Some(300 << 20))), (20, squeeze("young", Some(300 << 20)))]);
    let done = machine.quiet(100);
    assert!(
        matches!(&done[..], [(80, Action::Kill { container_id, .. })] if container_id.as_str() == "young")
    );
    assert!(machine.last().cause.as_ref().is_some_and(|it| it.to_string().contains("824 MiB of memory")));
    machine.look.lent.pop();
    machine.look.available_bytes = Some(2 << 30);
    assert_eq!(machine.quiet(3_000), [(1_020, squeeze("old", None))]);

    // Nothing to squeeze with: at once. And nobody holds enough: who holds most.
    let mut machine = Machine::new(TARGETS, false);
    machine.quiet(500);
    machine.look.available_bytes = Some(0);
    machine.look.lent[0].memory_bytes += 1;
    let done = machine.quiet(20);
    assert!(matches!(&done[..], [(20, Action::Kill { container_id, .. })] if container_id.as_str() == "old"));
}

#[test]
fn a_count_that_steps_back_is_a_new_one() {
    let mut machine = Machine::new(TARGETS, false);
    machine.run(60, 100, None);
    machine.look.firm[0].stalled_ns = Some(0);
    assert_eq!(machine.run(20, 0, None), []);
    machine.look.firm[0].stalled_ns = Some(u64::MAX / 2);
    machine.run(20, 0, None);
    machine.look.firm[0].stalled_ns = Some(5);
    assert_eq!(machine.run(20, 0, None), []);
}
