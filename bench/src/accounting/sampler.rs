//! The sampler against opening, reading and closing the same files one by one, as most agents do. Both take turns over one
//! whole round of the sampler's table, the sampler with all that it does besides reading: choosing whose turn it is,
//! understanding the texts, putting figures together. The other only reads.
//!
//! CPU time is the whole process's, so that threads which the kernel starts for io_uring are in it.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use ingot_agent::sampler::sources::{Counted, Sampler, Target};
use serde_json::json;

use super::container::Container;
use super::needs::Need;
use super::scene::Scene;
use super::{Findings, Part};
use crate::clock;
use crate::report::{Better, Goal};

const SHARE: Goal = Goal {
    name: "sampler's CPU against open-read-close of the same files",
    unit: "",
    better: Better::Lower,
    bar: 0.5,
};

pub(super) const PART: Part =
    Part { name: "sampler", needs: &[Need::Root, Need::Cgroup2], goals: &[SHARE], run };

const CONTAINERS: usize = 1_000;
/// Looks in which every file has its turn, and how often that is repeated.
const ROUND: usize = 64;
const ROUNDS: usize = 3;

/// CPU time by way of reading, of one look.
#[derive(Clone, Copy, Default)]
struct Look {
    files: usize,
    sampler: Duration,
    opening: Duration,
    held: Duration,
}

fn run(scene: &Scene, findings: &mut Findings) -> anyhow::Result<()> {
    let directory = scene.directory("sampler")?;
    // What runs in them makes no difference to the texts' length nor to how the kernel writes them.
    let containers: Vec<Container> =
        (0..CONTAINERS).map(|n| Container::make(&directory, &format!("c{n}"))).collect::<Result<_, _>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let counted = Counted { cpu: true, memory: true, io: true };
        let mut sampler = Sampler::new(counted);
        findings.detail("reads_by", if sampler.has_ring() { "io_uring" } else { "pread" });
        let mut plain = Sampler::without_ring(counted);
        for (number, container) in containers.iter().enumerate() {
            for sampler in [&mut sampler, &mut plain] {
                sampler.add(format!("c{number}").as_str().into(), Target::Cgroup(&container.path))?;
            }
        }
        // Everything once, and all memory that is ever needed.
        sampler.look().await;
        plain.look().await;
        let (mut looks, mut without_ring) = (Vec::new(), Duration::ZERO);
        for _ in 0..ROUNDS * ROUND {
            let due = sampler.due();
            let mut look = Look { files: due.len(), ..Look::default() };
            look.opening = cpu_of(|| open_read_close(&due))?;
            let before = clock::process_cpu();
            sampler.look().await;
            look.sampler = clock::process_cpu() - before;
            let before = clock::process_cpu();
            plain.look().await;
            without_ring += clock::process_cpu() - before;
            let files: Vec<File> = due.iter().map(File::open).collect::<Result<_, _>>()?;
            look.held = cpu_of(|| read_held(&files))?;
            looks.push(look);
        }
        say(&looks, without_ring, findings);
        Ok(())
    })
}

fn say(looks: &[Look], without_ring: Duration, findings: &mut Findings) {
    let rounds = looks.chunks_exact(ROUND).map(|round| {
        let sum = |of: fn(&Look) -> Duration| round.iter().map(of).sum::<Duration>();
        sum(|it| it.sampler).as_secs_f64() / sum(|it| it.opening).as_secs_f64()
    });
    let mut shares: Vec<f64> = rounds.collect();
    shares.sort_by(f64::total_cmp);
    findings.goal(&SHARE, shares[shares.len() / 2]);
    let files: usize = looks.iter().map(|it| it.files).sum();
    let us = |time: Duration| time.as_secs_f64() * 1e6 / files as f64;
    let sum = |of: fn(&Look) -> Duration| us(looks.iter().map(of).sum::<Duration>());
    findings.detail("containers", CONTAINERS);
    findings.detail("files_a_look", files / looks.len());
    let (least, most) = (shares[0], shares[shares.len() - 1]);
    findings.detail("share_of_rounds", json!({ "least": least, "most": most }));
    findings.detail(
        "us_a_file",
        json!({
            "open_read_close": sum(|it| it.opening),
            "sampler": sum(|it| it.sampler),
            "sampler_without_io_uring": us(without_ring),
            // The first read of a descriptor, which makes its page for the text, among it.
            "pread_of_open_files": sum(|it| it.held),
        }),
    );
}

fn cpu_of(work: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<Duration> {
    let before = clock::process_cpu();
    work()?;
    Ok(clock::process_cpu() - before)
}

fn open_read_close(paths: &[PathBuf]) -> std::io::Result<()> {
    let mut block = [0; 4096];
    for path in paths {
        let mut file = File::open(path)?;
        while file.read(&mut block)? > 0 {}
    }
    Ok(())
}

fn read_held(files: &[File]) -> std::io::Result<()> {
    let mut block = [0; 4096];
    for file in files {
        file.read_at(&mut block, 0)?;
    }
    Ok(())
}
