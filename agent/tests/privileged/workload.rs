//! What runs inside the measured containers: this same test binary, told by a variable what to do. Not tests.
#![expect(clippy::disallowed_methods, reason = "a workload is something that runs for a time")]

use std::io::{BufRead, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{bpf_io, metered, traffic};

/// `name argument…`, by blanks.
pub(crate) const VARIABLE: &str = "INGOT_TEST_WORKLOAD";

#[test]
#[ignore = "not a test: other tests run it in their containers"]
fn workload() {
    let Ok(what) = std::env::var(VARIABLE) else { return };
    let words: Vec<&str> = what.split(' ').collect();
    let number = |index: usize| words[index].parse::<u64>().unwrap();
    match words[0] {
        "busy" => busy(number(1), Duration::from_millis(number(2))),
        "spin" => {
            println!("\nspinning");
            busy(1, Duration::MAX);
        }
        // On one CPU, which it takes from others there.
        "crowd" => {
            pin();
            println!("\nspinning");
            busy(number(1), Duration::MAX);
        }
        "yielding" => {
            pin();
            println!("\nspinning");
            (1..number(1)).for_each(|_| drop(std::thread::spawn(give_way)));
            give_way();
        }
        "nap" => nap(),
        "duty" => duty(Duration::from_millis(number(1))),
        "split" => split(Duration::from_millis(number(1))),
        "ring" => ring(number(1)),
        "forks" => forks(number(1)),
        "greed" => drop(std::hint::black_box(vec![1_u8; (number(1) as usize) << 20])),
        "shared" => shared(number(1) as usize),
        "memory" => memory(number(1) as usize),
        "inside" | "udp" | "flood" | "tcp" | "connect" | "serve" | "stream" | "datagrams" => {
            traffic::workload(&words)
        }
        "direct" | "cached" => bpf_io::workload(&words),
        "ordinary" => {
            nix::unistd::setuid(nix::unistd::Uid::from_raw(65_534)).unwrap();
            open_in_vain(words[1]);
        }
        "incapable" => {
            give_up_capabilities();
            open_in_vain(words[1]);
        }
        "untraced" => untraced(words[1]),
        "namespace" => namespace(words[1]),
        other => panic!("no workload {other}"),
    }
}

/// Threads that never wait.
fn busy(threads: u64, time: Duration) {
    let spin = move || {
        let start = Instant::now();
        while start.elapsed() < time {
            std::hint::black_box(start);
        }
    };
    let others: Vec<_> = (1..threads).map(|_| std::thread::spawn(spin)).collect();
    spin();
    others.into_iter().for_each(|it| it.join().unwrap());
}

/// All of them on the same CPU, so that they meet.
fn pin() {
    let mut first = nix::sched::CpuSet::new();
    first.set(0).unwrap();
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &first).unwrap();
}

fn give_way() {
    loop {
        std::thread::yield_now();
    }
}

/// Sleeps on that CPU a hundred times as soon as it is told to, and then for good.
fn nap() {
    pin();
    println!("\nready");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("\nslept");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
}

/// A thread that works for half a millisecond and sleeps as long, again and again.
fn duty(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        let turn = Instant::now();
        while turn.elapsed() < Duration::from_micros(500) {
            std::hint::black_box(turn);
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// Reads that io_uring hands to workers of its own: threads that no fork has made.
#[expect(unsafe_code, reason = "the buffers of a ring's operations are the caller's promise")]
fn ring(reads: u64) {
    let zeros = std::fs::File::open("/dev/zero").unwrap();
    let mut ring = io_uring::IoUring::new(8).unwrap();
    let mut buffers = vec![vec![0_u8; 1 << 20]; 4];
    for _ in 0..reads / 4 {
        for buffer in &mut buffers {
            let file = io_uring::types::Fd(std::os::fd::AsRawFd::as_raw_fd(&zeros));
            let read = io_uring::opcode::Read::new(file, buffer.as_mut_ptr(), buffer.len() as u32).build();
            // SAFETY: the buffers outlive the wait below, and each is given to one read at a time.
            unsafe { ring.submission().push(&read.flags(io_uring::squeue::Flags::ASYNC)).unwrap() };
        }
        ring.submit_and_wait(4).unwrap();
        assert_eq!(ring.completion().count(), 4);
    }
    println!("\nread");
    std::io::stdout().flush().unwrap();
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
}

/// As long in the kernel as in user mode.
fn split(time: Duration) {
    let mut zeros = std::fs::File::open("/dev/zero").unwrap();
    let mut buffer = vec![0; 1 << 20];
    let start = Instant::now();
    while start.elapsed() < time {
        std::io::Read::read_exact(&mut zeros, &mut buffer).unwrap();
    }
    busy(1, time);
}

/// Many processes that live for a millisecond.
fn forks(count: u64) {
    for _ in 0..count {
        assert!(Command::new("/bin/true").status().unwrap().success());
    }
}

/// Memory that is to be shared with children, written to, and there until the end.
#[expect(unsafe_code, reason = "nix's mmap is as unsafe")]
fn shared(mib: usize) {
    let bytes = mib << 20;
    // SAFETY: a mapping of its own, at an address that the kernel chooses; written within its length.
    unsafe {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let at = libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        assert_ne!(at, libc::MAP_FAILED);
        at.cast::<u8>().write_bytes(1, bytes);
    }
    println!("\nshared");
    std::io::stdout().flush().unwrap();
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
}

/// Grows, forks, lets the child go, shrinks; between the steps it says where it is and waits.
fn memory(mib: usize) {
    let step = |name: &str| {
        println!("\nat {name}");
        std::io::stdout().flush().unwrap();
        std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    };
    step("start");
    let mut grown = vec![0_u8; mib << 20];
    grown.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    std::hint::black_box(&grown);
    step("grown");
    // It lives until its stdin is closed; once it has answered it has mapped all that it will.
    let mut child = Command::new("/bin/cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut to, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    to.write_all(b"?").unwrap();
    from.read_exact(&mut [0]).unwrap();
    step("forked");
    drop(to);
    child.wait().unwrap();
    step("alone");
    drop(grown);
    step("shrunk");
    let peak = metered::status_bytes("/proc/self/status", "VmHWM:").unwrap();
    println!("peak {peak}");
}

/// Opens the programs as somebody who may not.
fn open_in_vain(root: &str) {
    let (mut bpf, support) = agent::bpf::Bpf::open(root.as_ref());
    // Every call still works.
    bpf.add_container(1, root.as_ref()).unwrap();
    bpf.refresh().unwrap();
    assert_eq!(bpf.read(1).unwrap(), None);
    assert_eq!(bpf.remove_container(1).unwrap(), None);
    assert!(bpf.take_events().is_none());
    println!("\nsupport {support}");
}

/// Stays root, but with no capability at all (capset(2), version 3).
#[expect(unsafe_code, reason = "neither the standard library nor nix has this call")]
fn give_up_capabilities() {
    let header: [u32; 2] = [0x2008_0522, 0];
    let none = [0_u32; 6];
    // SAFETY: the call reads a header of two words and, for this version, two sets of three.
    let done = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// Opens the programs where no tracefs can be seen.
fn untraced(root: &str) {
    use nix::mount::{MsFlags, mount};
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    let nothing: Option<&str> = None;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
    for place in ["/sys/kernel/tracing", "/sys/kernel/debug"] {
        if std::path::Path::new(place).is_dir() {
            mount(Some("none"), place, Some("tmpfs"), MsFlags::empty(), nothing).unwrap();
        }
    }
    let (_, support) = agent::bpf::Bpf::open(root.as_ref());
    println!("\nsupport {support}");
}

/// Measures a container from inside a cgroup namespace whose root is this process's own cgroup.
fn namespace(root: &str) {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP).unwrap();
    let (mut bpf, _) = agent::bpf::Bpf::open(root.as_ref());

    let container = metered::Cgroup::make(std::path::Path::new(root).join("container"));
    bpf.add_container(container.id, &container.path).unwrap();
    container.sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done").end();
    let sample = bpf.remove_container(container.id).unwrap().unwrap();
    println!("\ncpu {} of {}", sample.cpu.unwrap().exec_ns, container.cpu_stat_ns("usage_usec"));
}
