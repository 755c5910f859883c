//! What the sampler says of real cgroups, against what their files say.

use agent::accounting::sample::{CpuStat, FileSample};
use agent::containerizer::service::Running;
use agent::sampler::sources::{Counted, Sampler, Target};
use agent::sys::pidfd::Exit;
use model::id::ContainerId;

use crate::needs::{self, Need};
use crate::scene::{Scene, block_on, read_when_written, within};

const CGROUP: [Need; 2] = [Need::Root, Need::Cgroup2];

fn usage_us(running: &Running) -> u64 {
    let text = std::fs::read_to_string(running.cgroup_path().unwrap().join("cpu.stat")).unwrap();
    text.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap().parse().unwrap()
}

async fn look(sampler: &mut Sampler) -> Vec<(ContainerId, FileSample)> {
    within(sampler.look()).await;
    sampler.samples().map(|(id, sample)| (id.clone(), sample.clone())).collect()
}

fn cpu(sample: &FileSample) -> CpuStat {
    sample.cpu.unwrap()
}

#[test]
fn figures_are_those_of_the_files() {
    if !needs::met("figures_are_those_of_the_files", &CGROUP) {
        return;
    }
    let scene = Scene::with_cgroup();
    block_on(async {
        // Two processes that work, each with 8 MiB; busybox's head knows no such unit.
        let work = "(x=$(head -c 8388608 /dev/zero | tr '\\0' x); echo > $0; while :; do :; done)";
        let line = format!("sh -c '{work}' a & sh -c '{work}' b & wait");
        let running = scene.run("c1", &line.replace("'\\0'", "\"\\0\"")).await;
        for file in ["a", "b"] {
            read_when_written(&running.sandbox.join(file));
        }
        let rings = [Sampler::new(Counted::default()), Sampler::without_ring(Counted::default())];
        let mut last = 0;
        for mut sampler in rings {
            sampler.add("c1".into(), Target::Cgroup(running.cgroup_path().unwrap())).unwrap();
            for _ in 0..3 {
                let before = usage_us(&running);
                let (id, sample) = look(&mut sampler).await.remove(0);
                let after = usage_us(&running);
                assert_eq!(id, "c1".into());
                let usage = cpu(&sample).usage_us;
                assert!((before..=after).contains(&usage), "{before} {usage} {after}");
                assert!(
                    usage >= last && cpu(&sample).user_us + cpu(&sample).system_us <= usage + 1,
                    "{sample:?}"
                );
                last = usage;
                // By the memory controller where there is one, else summed over the processes.
                let memory = sample.memory_current_bytes.or(sample.proc.map(|proc| proc.rss_bytes)).unwrap();
                assert!(memory > 16 << 20, "{sample:?}");
                if let Some(proc) = sample.proc {
                    assert!(
                        proc.processes_count >= 3 && proc.threads_count == proc.processes_count,
                        "{proc:?}"
                    );
                    assert!(proc.rss_peak_bytes >= proc.rss_bytes, "{proc:?}");
                }
            }
        }
        scene.end(&running).await;
    });
}

#[test]
fn the_last_look_has_everything_though_nothing_runs_any_more() {
    if !needs::met("the_last_look_has_everything_though_nothing_runs_any_more", &CGROUP) {
        return;
    }
    let scene = Scene::with_cgroup();
    block_on(async {
        let mut sampler = Sampler::new(Counted::default());
        let running = scene.run("c1", "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done").await;
        sampler.add("c1".into(), Target::Cgroup(running.cgroup_path().unwrap())).unwrap();
        let ended = within(scene.containerizer.destroy(&running)).await.unwrap();
        assert!(matches!(ended.exit, Exit::Code(0) | Exit::Signal { .. }));
        let usage = usage_us(&running);
        let sample = within(sampler.finish(&"c1".into(), ended.usage)).await.unwrap();
        assert_eq!(cpu(&sample).usage_us, usage);
        assert!(usage > 0);
        let peak = sample.memory_peak_bytes.or(sample.proc.map(|proc| proc.rss_peak_bytes)).unwrap();
        assert!(peak > 100 << 10, "{sample:?}");
        scene.containerizer.remove(&running).await.unwrap();
        // Of a container that is gone there are no figures, and nothing breaks.
        assert_eq!(look(&mut sampler).await, []);
        assert!(sampler.add("c1".into(), Target::Cgroup(running.cgroup_path().unwrap())).is_err());
    });
}

#[test]
fn a_cgroup_that_vanishes_leaves_a_sample_without_figures() {
    if !needs::met("a_cgroup_that_vanishes_leaves_a_sample_without_figures", &CGROUP) {
        return;
    }
    let scene = Scene::with_cgroup();
    block_on(async {
        let running = scene.run("c1", "true").await;
        let counted = Counted { memory: true, ..Counted::default() };
        let mut samplers = [Sampler::new(counted), Sampler::without_ring(counted)];
        for sampler in &mut samplers {
            sampler.add("c1".into(), Target::Cgroup(running.cgroup_path().unwrap())).unwrap();
            assert!(look(sampler).await[0].1.cpu.is_some());
        }
        scene.end(&running).await;
        for sampler in &mut samplers {
            assert_eq!(look(sampler).await, [("c1".into(), FileSample::default())]);
        }
    });
}

/// `total` of the line that begins with `some`, microseconds; `None` where the kernel keeps no pressure.
fn pressure_us(running: &Running, file: &str) -> Option<u64> {
    let text = std::fs::read_to_string(running.cgroup_path().unwrap().join(file)).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    line.rsplit_once('=')?.1.parse().ok()
}

#[test]
fn pressure_is_that_of_the_file_and_grows_where_threads_wait() {
    let test = "pressure_is_that_of_the_file_and_grows_where_threads_wait";
    if !needs::met(test, &CGROUP) {
        return;
    }
    let scene = Scene::with_cgroup();
    block_on(async {
        // More that want to run than there are CPUs.
        let count = std::thread::available_parallelism().unwrap().get() + 1;
        let running = scene.run("c1", &format!("{} wait", "(while :; do :; done) & ".repeat(count))).await;
        if pressure_us(&running, "cpu.pressure").is_none() {
            scene.end(&running).await;
            needs::skip(test, "the kernel keeps no pressure (CONFIG_PSI, psi=1)");
            return;
        }
        let counted = Counted { cpu: true, memory: true, io: true };
        let mut sampler = Sampler::new(counted);
        sampler.add("c1".into(), Target::Cgroup(running.cgroup_path().unwrap())).unwrap();
        let start = std::time::Instant::now();
        let mut pressed = 0;
        while pressed < 20_000 {
            assert!(start.elapsed() < crate::scene::DEADLINE, "nobody waits");
            let before = pressure_us(&running, "cpu.pressure").unwrap();
            // Its turn comes every fourth time.
            for _ in 0..4 {
                within(sampler.look()).await;
            }
            let after = pressure_us(&running, "cpu.pressure").unwrap();
            let sample = sampler.samples().next().unwrap().1;
            pressed = sample.cpu_pressure.unwrap().some_us;
            assert!((before..=after).contains(&pressed), "{before} {pressed} {after}");
            assert!(sample.memory_pressure.is_some() && sample.io_pressure.is_some(), "{sample:?}");
        }
        scene.end(&running).await;
    });
}

#[test]
fn the_node_says_what_its_files_say() {
    let uptime_ns = || {
        let text = std::fs::read_to_string("/proc/uptime").unwrap();
        (text.split(' ').next().unwrap().parse::<f64>().unwrap() * 1e9) as u64
    };
    block_on(async {
        for mut sampler in [Sampler::new(Counted::default()), Sampler::without_ring(Counted::default())] {
            within(sampler.look()).await;
            let first = *sampler.node();
            within(sampler.look()).await;
            let second = *sampler.node();
            for (at, figure) in model::usage::NodeUsage::FIGURES.iter().enumerate() {
                let (before, after) = (first.to_words()[at], second.to_words()[at]);
                let grows = figure.kind == model::usage::Kind::Counter;
                assert!(!grows || after >= before, "{}: {before} {after}", figure.name);
            }
            // A tick of each CPU may be counted before it is over.
            let cpus = second.cpus_milli / 1_000;
            assert!(second.cpu_ns > 0 && second.cpu_ns <= cpus * (uptime_ns() + 20_000_000), "{second:?}");
            assert!(second.switches > 0 && second.forks > 0 && second.faults_minor > 0, "{second:?}");
            assert!(second.memory_available_bytes <= second.memory_total_bytes, "{second:?}");
            let known = |group: model::usage::Group| second.sources.of(group);
            for group in [model::usage::Group::Cpu, model::usage::Group::Memory, model::usage::Group::Io] {
                assert_eq!(known(group), model::usage::Source::Proc, "{}", group.as_str());
            }
        }
    });
}
