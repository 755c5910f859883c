//! Limits that are really hit. Where the controllers are not in the cgroup2 tree each says why it is skipped; in a machine
//! of `cargo xtask vm` they are.

use std::path::Path;
use std::time::Instant;

use agent::cgroup::Enforced;
use agent::cgroup::extras::{CpuSet, Extras, IoMax};
use agent::cgroup::knobs::{Controller, Limits};
use agent::containerizer::nested::{self, Nested, Place};
use agent::containerizer::service::Running;
use agent::sys::pidfd::Exit;

use crate::needs::{self, Need};
use crate::scene::{Scene, block_on, is_alive, read_when_written, shell, until, within};

/// A scene where these are enforced; else `None`, and it has been said why.
fn scene(test: &str, controllers: &[Controller], extras: Extras) -> Option<Scene> {
    if !needs::met(test, &[Need::Root, Need::Cgroup2]) {
        return None;
    }
    let scene = Scene::with_cgroup_and(extras);
    for controller in controllers {
        if let Enforced::No { reason } = scene.containerizer.enforcement().of(*controller) {
            needs::skip(test, &format!("{}: {reason}", controller.as_str()));
            return None;
        }
    }
    Some(scene)
}

async fn run(scene: &Scene, id: &str, line: &str, limit: impl FnOnce(&mut Limits)) -> Running {
    let mut plan = scene.plan(id, shell(line));
    let limits = plan.limits.as_mut().unwrap();
    limits.memory_max_bytes = None;
    limit(limits);
    scene.containerizer.start(scene.containerizer.prepare(plan).await.unwrap()).await.unwrap()
}

/// The number behind a word of a flat keyed file.
fn keyed(group: &Path, file: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(group.join(file)).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {key} in {file}")).parse().unwrap()
}

fn number(group: &Path, file: &str) -> u64 {
    std::fs::read_to_string(group.join(file)).unwrap().trim().parse().unwrap()
}

const BUSY: &str = "while :; do :; done";

/// On one CPU, which both want all the time.
#[test]
#[ignore = "needs the cpu controller in the v2 tree, which this project's test machine has not: for a VM"]
fn limits_of_cpu_divide_one_by_three_to_one() {
    let extras = Extras { cpuset_cpus: CpuSet::parse("0").ok(), ..Extras::default() };
    let wanted = [Controller::Cpu, Controller::Cpuset];
    let Some(scene) = scene("limits_of_cpu_divide_one_by_three_to_one", &wanted, extras) else { return };
    block_on(async {
        let large = run(&scene, "large", BUSY, |limits| limits.cpus_milli = 3000).await;
        let small = run(&scene, "small", BUSY, |limits| limits.cpus_milli = 1000).await;
        let groups = [large.cgroup_path().unwrap(), small.cgroup_path().unwrap()];
        let used = || groups.map(|group| keyed(group, "cpu.stat", "usage_usec"));
        // What they took while the other was not yet there does not count.
        until("both run", || used().iter().all(|us| *us > 200_000));
        let before = used();
        until("they have used 12 s", || used().iter().sum::<u64>() > before.iter().sum::<u64>() + 12_000_000);
        let after = used();
        let [large_us, small_us] = [after[0] - before[0], after[1] - before[1]];
        let thousandths = large_us * 1000 / (large_us + small_us);
        println!("3:1 became {large_us}:{small_us} us, {thousandths} thousandths for the larger");
        assert!((735..=765).contains(&thousandths), "{large_us}:{small_us}");
        scene.end(&large).await;
        scene.end(&small).await;
    });
}

#[test]
#[ignore = "needs the cpu controller in the v2 tree, which this project's test machine has not: for a VM"]
fn limits_of_cpu_are_quotas_of_time() {
    let Some(scene) = scene("limits_of_cpu_are_quotas_of_time", &[Controller::Cpu], Extras::default()) else {
        return;
    };
    block_on(async {
        let running = run(&scene, "c1", BUSY, |limits| limits.cpus_max_milli = Some(200)).await;
        let group = running.cgroup_path().unwrap();
        let used = || keyed(group, "cpu.stat", "usage_usec");
        until("it is throttled", || keyed(group, "cpu.stat", "nr_throttled") > 5);
        let (begun, before) = (Instant::now(), used());
        until("half a second of CPU", || used() > before + 500_000);
        let (wall_us, cpu_us) = (begun.elapsed().as_micros(), u128::from(used() - before));
        println!("a limit of 0.2 CPUs: {cpu_us} us of CPU in {wall_us} us");
        // A machine that stands still now and then gets less, none more, but for the period that is begun.
        assert!(cpu_us * 5 <= wall_us + 200_000, "{cpu_us} us in {wall_us} us");
        scene.end(&running).await;
    });
}

/// And all of it ends with its container, whatever it did to get away: a session of its own, an orphan of an orphan.
#[test]
#[ignore = "needs the pids controller in the v2 tree, which this project's test machine has not: for a VM"]
fn limits_of_processes_hold_a_fork_bomb_and_destroy_ends_it() {
    let name = "limits_of_processes_hold_a_fork_bomb_and_destroy_ends_it";
    let Some(scene) = scene(name, &[Controller::Pids], Extras::default()) else { return };
    // A shell that is refused a fork ends: what was born keeps the group full. The orphan forks no more by then.
    let bomb = "i=0; while [ $i -lt 8 ]; do i=$((i+1)); \
                env -i setsid sh -c 'until [ -e go ]; do :; done; while :; do (sleep 1000 &) ; done' & done; \
                (setsid sh -c 'sh -c \"trap : TERM; echo \\$\\$ > orphan; while :; do :; done\" &' &) ; \
                until [ -e orphan ]; do :; done; : > go; exec sleep 1000";
    block_on(async {
        let running = run(&scene, "bomb", bomb, |limits| limits.pids_max = Some(60)).await;
        let group = running.cgroup_path().unwrap().to_owned();
        let orphan: i32 = read_when_written(&running.sandbox.join("orphan")).trim().parse().unwrap();
        until("forks are refused", || keyed(&group, "pids.events", "max") > 0);
        assert!(number(&group, "pids.current") <= 60);
        assert!(is_alive(orphan));
        // Others go on as if nothing were.
        let other = run(&scene, "other", "sh -c 'exit 5'", |_| {}).await;
        assert_eq!(within(other.wait()).await.exit, Exit::Code(5));
        scene.end(&other).await;
        let exit = within(scene.containerizer.destroy(&running)).await.unwrap().exit;
        assert_eq!(exit, Exit::Signal { number: libc::SIGKILL, core_dumped: false });
        assert_eq!(std::fs::read_to_string(group.join("cgroup.procs")).unwrap(), "");
        assert!(!is_alive(orphan));
        scene.containerizer.remove(&running).await.unwrap();
        assert!(!group.exists());
    });
}

#[test]
#[ignore = "needs the memory controller in the v2 tree, which this project's test machine has not: for a VM"]
fn limits_of_memory_end_a_container_that_passes_them_as_a_whole() {
    let name = "limits_of_memory_end_a_container_that_passes_them_as_a_whole";
    let Some(scene) = scene(name, &[Controller::Memory], Extras::default()) else { return };
    let line = "sleep 1000 & echo $! > other; x=0123456789abcdef; while :; do x=$x$x; done";
    block_on(async {
        let running = run(&scene, "c1", line, |limits| limits.memory_max_bytes = Some(64 << 20)).await;
        let other: i32 = read_when_written(&running.sandbox.join("other")).trim().parse().unwrap();
        let exit = within(running.wait()).await.exit;
        assert_eq!(exit, Exit::Signal { number: libc::SIGKILL, core_dumped: false });
        within(scene.containerizer.destroy(&running)).await.unwrap();
        assert!(!is_alive(other));
        let met = scene.containerizer.memory_met(&running).await.unwrap();
        println!("{met:?}");
        assert!(met.limit_met_count > 0 && met.kills_count > 0, "{met:?}");
        assert_eq!(met.limit_bytes, Some(64 << 20));
        scene.end(&running).await;
    });
}

#[test]
#[ignore = "needs the cpuset and io controllers in the v2 tree, which this project's test machine has not: for a VM"]
fn limits_that_the_operator_sets_hold_every_container() {
    let name = "limits_that_the_operator_sets_hold_every_container";
    // The first device there is; `null_blk` in a test machine.
    let blocks = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let devices = blocks.filter_map(|block| std::fs::read_to_string(block.path().join("dev")).ok());
    let Some(device) = devices.map(|it| it.trim().to_owned()).min() else {
        needs::skip(name, "no block device");
        return;
    };
    let extras = Extras {
        cpuset_cpus: CpuSet::parse("0").ok(),
        io_max: vec![IoMax::parse(&format!("{device} wbps=1048576")).unwrap()],
        ..Extras::default()
    };
    let Some(scene) = scene(name, &[Controller::Cpu, Controller::Io, Controller::Cpuset], extras) else {
        return;
    };
    block_on(async {
        let line = "sed -n 's/^Cpus_allowed_list:[^0-9]*//p' /proc/self/status";
        let running = run(&scene, "c1", line, |limits| {
            limits.cpus_max_milli = Some(500);
            limits.cpus_burst_milli = Some(250);
        })
        .await;
        assert_eq!(within(running.wait()).await.exit, Exit::Code(0));
        assert_eq!(scene.output(&running), "0\n");
        let group = running.cgroup_path().unwrap();
        let text = |file: &str| std::fs::read_to_string(group.join(file)).unwrap();
        assert_eq!(text("io.max").trim(), format!("{device} rbps=max wbps=1048576 riops=max wiops=max"));
        assert_eq!(text("cpu.max.burst").trim(), "25000");
        // Lower than what it may save up; the kernel would refuse the two in the wrong order.
        let less = Limits { cpus_max_milli: Some(200), cpus_burst_milli: Some(100), ..plan_limits(&scene) };
        scene.containerizer.set_limits(&running, less).await.unwrap();
        assert_eq!((text("cpu.max").trim(), text("cpu.max.burst").trim()), ("20000 100000", "10000"));
        scene.end(&running).await;
    });
}

fn plan_limits(scene: &Scene) -> Limits {
    scene.plan("other", shell("true")).limits.unwrap()
}

/// Who runs on what is lent runs when nobody else does, and is an ordinary one as soon as CPUs are promised.
#[test]
#[ignore = "needs the cpu controller in the v2 tree, which this project's test machine has not: for a VM"]
fn limits_of_lent_cpus_give_way_to_promised_ones() {
    let extras = Extras { cpuset_cpus: CpuSet::parse("0").ok(), ..Extras::default() };
    let wanted = [Controller::Cpu, Controller::Cpuset];
    let Some(scene) = scene("limits_of_lent_cpus_give_way_to_promised_ones", &wanted, extras) else { return };
    block_on(async {
        let lend = |limits: &mut Limits| (limits.cpus_milli, limits.cpus_revocable_milli) = (4100, 4000);
        let lent = run(&scene, "lent", BUSY, lend).await;
        let group = lent.cgroup_path().unwrap();
        let idle = || std::fs::read_to_string(group.join("cpu.idle")).unwrap();
        assert_eq!(idle(), "1\n");
        let firm = run(&scene, "firm", BUSY, |limits| limits.cpus_milli = 1000).await;
        let groups = [group, firm.cgroup_path().unwrap()];
        let used = || groups.map(|group| keyed(group, "cpu.stat", "usage_usec"));
        until("both have run", || used().iter().all(|us| *us > 10_000));
        let before = used();
        until("the other has used 5 s", || used()[1] > before[1] + 5_000_000);
        let [lent_us, firm_us] = [used()[0] - before[0], used()[1] - before[1]];
        println!("beside a busy container the idle one had {lent_us} us of {}", lent_us + firm_us);
        assert!(lent_us * 50 < lent_us + firm_us, "{lent_us} of {firm_us}");
        // As when a task on guaranteed CPUs joins it, and leaves again.
        let mut limits = plan_limits(&scene);
        (limits.cpus_milli, limits.cpus_revocable_milli) = (5100, 4000);
        scene.containerizer.set_limits(&lent, limits).await.unwrap();
        let weight = std::fs::read_to_string(group.join("cpu.weight")).unwrap();
        assert_eq!((idle().trim(), weight.trim()), ("0", "114"));
        limits.cpus_milli = 4100;
        scene.containerizer.set_limits(&lent, limits).await.unwrap();
        scene.containerizer.set_limits(&lent, limits).await.unwrap();
        assert_eq!(idle(), "1\n");
        scene.end(&lent).await;
        scene.end(&firm).await;
    });
}

/// Children of who has not been moved yet are born in the group that is to become empty.
#[test]
fn a_storm_of_forks_moves_aside_for_limits_of_somebody_nested() {
    if !needs::met("a_storm_of_forks_moves_aside_for_limits_of_somebody_nested", &[Need::Root, Need::Cgroup2])
    {
        return;
    }
    let scene = Scene::with_cgroup();
    let storm = "for i in 1 2 3 4 5 6 7 8; do while :; do (:); done & done; wait";
    let outer = scene.plan("c1", shell(storm));
    let place = Place::top(&"c1".into()).with("a").unwrap();
    let nested = nested::plan(&Nested {
        place: &place,
        parent: &outer,
        command: &shell("exit 3"),
        container: None,
        image: None,
        is_session: false,
        switch_user: false,
        has_mounts: true,
        limits: Some(Limits { memory_max_bytes: Some(64 << 20), ..outer.limits.unwrap() }),
    });
    block_on(async {
        let prepared = scene.containerizer.prepare(outer).await.unwrap();
        let running = scene.containerizer.start(prepared).await.unwrap();
        let group = running.cgroup_path().unwrap().to_owned();
        let count =
            |group: &Path| std::fs::read_to_string(group.join("cgroup.procs")).unwrap().lines().count();
        until("it storms", || count(&group) > 8);
        let prepared = scene.containerizer.prepare(nested.unwrap()).await.unwrap();
        assert_eq!(count(&group), 0);
        assert!(count(&group.join("executor.own")) > 8);
        if scene.containerizer.enforcement().memory.is_yes() {
            assert_eq!(number(&group.join("a"), "memory.max"), 64 << 20);
        }
        let inner = scene.containerizer.start_in(prepared, Some(&running)).await.unwrap();
        assert_eq!(within(inner.wait()).await.exit, Exit::Code(3));
        scene.end(&inner).await;
        scene.end(&running).await;
        assert!(!group.exists());
    });
}
