//! The estimator as a whole: what it says of machines at work, and of input that stops, jumps or makes no sense.

use crate::estimator::core::{Effect, Estimate, Estimator, Input, Machine, Method, Sample, Settings};
use crate::estimator::predictor::Kind;
use model::id::ContainerId;
use model::time::Time;

const GIB: u64 = 1 << 30;
const MACHINE: Machine = Machine { cpus_milli: 8000, memory_bytes: 32 * GIB };
const SECOND_NS: u64 = 1_000_000_000;

fn settings(method: Method) -> Settings {
    Settings {
        method,
        step_ms: 10_000,
        warm_up: 3,
        floor_per_mille: 50,
        with_memory: false,
        send_interval_ms: 1000,
        hold_ms: 10_000,
        stale_ms: 5000,
    }
}

fn usage() -> Settings {
    settings(Method::Usage(Kind::Reach))
}

/// Two containers of four CPUs and eight GiB each, looked at every second; what they use is said in milli-CPUs.
struct World {
    estimator: Estimator,
    second: u64,
    samples: Vec<Sample>,
    sent: Vec<(u64, Estimate)>,
}

impl World {
    fn new(settings: Settings) -> Self {
        let sample = |name: &str| Sample {
            container_id: ContainerId::new(name),
            is_revocable: false,
            cpus_milli: 4000,
            memory_limit_bytes: 8 * GIB,
            cpu_ns: Some(0),
            memory_bytes: Some(GIB),
        };
        let samples = vec![sample("a"), sample("b")];
        Self { estimator: Estimator::new(settings), second: 0, samples, sent: Vec::new() }
    }

    fn now(&self) -> Time {
        Time::from_ms(self.second * 1000)
    }

    fn collect(&mut self, effects: Vec<Effect>) {
        let second = self.second;
        self.sent.extend(effects.into_iter().map(|Effect::Send(estimate)| (second, estimate)));
    }

    fn look(&mut self) {
        let (now, mut effects) = (self.now(), Vec::new());
        self.estimator.handle(now, Input::Look { machine: MACHINE, samples: &self.samples }, &mut effects);
        self.collect(effects);
    }

    /// A second passes in which each used so much.
    fn second(&mut self, used_milli: &[u64]) {
        self.second += 1;
        for (sample, used) in self.samples.iter_mut().zip(used_milli) {
            sample.cpu_ns = sample.cpu_ns.map(|ns| ns + used * SECOND_NS / 1000);
        }
        self.look();
    }

    fn seconds(&mut self, count: u64, used_milli: &[u64]) {
        (0..count).for_each(|_| self.second(used_milli));
    }

    /// Nothing is looked at for so long; whoever waits is woken.
    fn silence(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.second += 1;
            let (now, mut effects) = (self.now(), Vec::new());
            if self.estimator.deadline().is_some_and(|at| at <= now) {
                self.estimator.expire(now, &mut effects);
            }
            self.collect(effects);
        }
    }

    fn cpus(&self) -> u64 {
        self.estimator.latest().cpus_milli
    }
}

/// At work for ten minutes, each container at half a CPU of its four.
fn calm() -> World {
    let mut world = World::new(usage());
    world.look();
    world.seconds(600, &[500, 500]);
    world
}

#[test]
fn what_is_given_and_not_used_may_be_lent() {
    let world = calm();
    // 8 CPUs given, 1 used, and a margin.
    assert!((5000..7000).contains(&world.cpus()), "{}", world.cpus());
    assert_eq!(world.estimator.latest().memory_bytes, 0, "memory only when asked for");
}

#[test]
fn none_says_nothing_and_fixed_says_it_once() {
    let mut none = World::new(settings(Method::None));
    none.seconds(60, &[100, 100]);
    assert_eq!((none.sent.len(), none.estimator.deadline()), (0, None));
    let estimate = Estimate { cpus_milli: 2000, memory_bytes: GIB };
    let mut fixed = World::new(settings(Method::Fixed(estimate)));
    fixed.seconds(60, &[100, 100]);
    assert_eq!(fixed.sent, [(1, estimate)]);
}

#[test]
fn a_young_container_counts_at_its_limit() {
    let mut world = calm();
    let before = world.cpus();
    let young = Sample { container_id: ContainerId::new("c"), cpu_ns: Some(0), ..world.samples[0].clone() };
    world.samples.push(young);
    world.seconds(15, &[500, 500, 0]);
    assert_eq!(world.cpus(), before, "four CPUs more are given, and as many count as used");
    world.seconds(60, &[500, 500, 0]);
    assert!(world.cpus() > before + 2000, "{} after {before}", world.cpus());
}

#[test]
fn who_is_gone_gives_nothing_to_lend() {
    let mut world = calm();
    world.samples.clear();
    world.second(&[]);
    assert_eq!(world.cpus(), 0, "what nobody was given is offered as it is");
}

#[test]
fn what_revocable_containers_use_is_no_reason_to_lend_less() {
    let mut world = calm();
    let before = world.cpus();
    let lent =
        Sample { container_id: ContainerId::new("lent"), is_revocable: true, ..world.samples[0].clone() };
    world.samples.push(lent);
    world.seconds(120, &[500, 500, 6000]);
    assert!(world.cpus() >= before, "{} after {before}", world.cpus());
}

#[test]
fn more_use_than_was_predicted_counts_within_the_step() {
    let mut world = calm();
    // The step of ten seconds has just begun.
    world.seconds(9, &[4000, 4000]);
    assert!(world.cpus() <= 1000, "{}", world.cpus());
}

#[test]
fn nothing_is_sent_more_often_than_once_a_second_or_for_less_than_a_step() {
    let mut world = calm();
    for second in 0..600 {
        world.second(if second / 7 % 2 == 0 { &[100, 3000] } else { &[2000, 300] });
    }
    let times: Vec<u64> = world.sent.iter().map(|(second, _)| *second).collect();
    assert!(times.windows(2).all(|two| two[0] < two[1]), "{times:?}");
    let steps = world.sent.windows(2).map(|two| two[0].1.cpus_milli.abs_diff(two[1].1.cpus_milli));
    assert!(steps.min() >= Some(Estimate::STEP.cpus_milli), "{:?}", world.sent);
}

#[test]
fn a_steady_load_is_told_a_few_times_and_not_again() {
    let mut world = calm();
    world.seconds(600, &[500, 500]);
    let before = world.sent.len();
    world.seconds(3000, &[520, 480]);
    assert!(world.sent.len() - before <= 5, "{:?}", &world.sent[before..]);
}

#[test]
fn the_floor_is_kept_though_nothing_is_used() {
    let mut world = World::new(Settings { floor_per_mille: 500, ..usage() });
    world.look();
    world.seconds(900, &[0, 0]);
    assert_eq!(world.cpus(), 4000, "half of eight");
}

#[test]
fn memory_is_lent_later_and_less() {
    let mut world = World::new(Settings { with_memory: true, ..usage() });
    world.look();
    world.seconds(85, &[0, 0]);
    assert_eq!(world.estimator.latest().memory_bytes, 0, "its warm-up is three times as long");
    world.samples[0].memory_bytes = Some(4 * GIB);
    world.second(&[0, 0]);
    world.samples[0].memory_bytes = Some(GIB);
    world.seconds(600, &[0, 0]);
    // 16 GiB given; peaks of 4 and 1, and a fifth of the 4 and 7 that are left of the limits.
    let lent = world.estimator.latest().memory_bytes;
    assert!((8 * GIB..=9 * GIB).contains(&lent), "{lent}");
}

mod faults {
    use super::*;

    #[test]
    fn input_that_stops_takes_everything_back_and_returning_gives_it_again() {
        let mut world = calm();
        let before = world.cpus();
        world.silence(10);
        assert_eq!((world.cpus(), world.sent.last().map(|sent| sent.1)), (0, Some(Estimate::default())));
        world.seconds(60, &[500, 500]);
        assert!(world.cpus().abs_diff(before) <= 500, "{} after {before}", world.cpus());
    }

    #[test]
    fn after_a_long_silence_everybody_is_young_again() {
        let mut world = calm();
        world.silence(1000);
        world.seconds(20, &[500, 500]);
        assert_eq!(world.cpus(), 0);
        world.seconds(60, &[500, 500]);
        assert!(world.cpus() > 0);
    }

    #[test]
    fn one_that_nobody_can_measure_counts_at_its_limit() {
        let mut world = calm();
        let before = world.cpus();
        world.samples[0].cpu_ns = None;
        world.seconds(30, &[500, 500]);
        assert!(world.cpus() <= before.saturating_sub(2500).min(4000), "{} after {before}", world.cpus());
    }

    #[test]
    fn a_counter_that_jumps_is_no_usage_and_its_container_counts_at_its_limit_for_the_step() {
        for jump in [u64::MAX, 10_000 * SECOND_NS, 0] {
            let mut world = calm();
            let before = world.cpus();
            world.samples[0].cpu_ns = Some(jump);
            world.second(&[]);
            assert!(world.cpus() <= before.saturating_sub(2500), "{jump}: {} after {before}", world.cpus());
            // From there on it counts as if nothing had been.
            world.samples[0].cpu_ns = Some(5 * SECOND_NS);
            world.seconds(120, &[500, 500]);
            assert!(world.cpus().abs_diff(before) <= 500, "{jump}: {} after {before}", world.cpus());
        }
    }

    #[test]
    fn looks_at_one_moment_or_back_in_time_and_limits_of_nothing_or_everything_do_no_harm() {
        let mut world = calm();
        world.look();
        world.second -= 5;
        world.look();
        world.second += 6;
        world.samples[0].cpus_milli = u64::from(u32::MAX);
        world.samples[1].cpus_milli = 0;
        world.samples[1].memory_limit_bytes = u64::MAX;
        world.samples[1].memory_bytes = Some(u64::MAX);
        world.seconds(60, &[4000, 4000]);
        // What was given beyond the machine is the allocator's matter; no more than was given is ever lent.
        assert!(world.cpus() <= u64::from(u32::MAX));
    }

    #[test]
    fn a_machine_of_nothing_lends_nothing() {
        let mut estimator = Estimator::new(usage());
        let mut effects = Vec::new();
        for second in 0..600 {
            let input = Input::Look { machine: Machine::default(), samples: &[] };
            estimator.handle(Time::from_ms(second * 1000), input, &mut effects);
        }
        assert_eq!((estimator.latest(), effects), (Estimate::default(), Vec::new()));
    }
}
