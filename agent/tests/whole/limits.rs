//! What a task is told that its limits ended. Those of memory need its controller in the cgroup2 tree, which the machines of
//! `cargo xtask vm` have.

use crate::agent::{Agent, Place, until};
use crate::master::{Master, command, framework};
use crate::needs;
use model::quantity::Quantity;
use model::resources::{DISK, Resource};
use model::task::{Reason, Source, TaskState};

/// A shell that holds ever more in a variable.
pub const GREEDY: &str = "x=0123456789abcdef; while :; do x=$x$x; done";

/// `false`: it has been said why, and the test is to return.
pub fn holds_memory(test: &str, agent: &Agent) -> bool {
    let state = agent.get("/state").json();
    let memory = &state["ingot"]["enforcement"]["memory"];
    let reason = memory["reason"].as_str();
    memory["enforced"] == true || needs::skip(test, reason.unwrap_or("containers' memory is not limited"))
}

#[test]
#[ignore = "needs the memory controller in the v2 tree, which this project's test machine has not: for a VM"]
fn a_task_past_its_memory_limit_fails_for_that_reason() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    if !holds_memory("a_task_past_its_memory_limit_fails_for_that_reason", &agent) {
        return;
    }
    session.run(&framework(false), command("t", GREEDY));
    let told = session.follow("t", TaskState::Failed);
    let failed = told.last().unwrap();
    println!("{:?}", failed.message);
    assert_eq!(failed.source, Some(Source::Agent));
    assert_eq!(failed.reason, Some(Reason::CONTAINER_LIMITATION_MEMORY));
    // 64 MiB of the task's and 32 MiB of its executor's.
    let message = failed.message.as_deref().unwrap();
    assert!(message.starts_with("Memory limit exceeded: Requested: 96MB Maximum Used: "), "{message}");
    let number = |text: &str, after: &str| -> f64 {
        let rest = text.split_once(after).unwrap().1;
        rest.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap().parse().unwrap()
    };
    assert!((48.0..=96.0).contains(&number(message, "Maximum Used: ")), "{message}");
    number(message, "\nanon ");
    let v1 = ::api::convert::status::to_v1(failed).unwrap();
    let limited = ::api::convert::resources::from_v1(&v1.limitation.unwrap().resources).unwrap();
    assert_eq!(limited.to_string(), "mem:96");
}

/// A limit that a task has set for a part of itself is its own affair.
#[test]
#[ignore = "needs the memory controller in the v2 tree, which this project's test machine has not: for a VM"]
fn a_limit_below_the_containers_own_is_not_taken_for_it() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    if !holds_memory("a_limit_below_the_containers_own_is_not_taken_for_it", &agent) {
        return;
    }
    let line = format!(
        "group=/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup); mkdir $group/init $group/part; \
         for pid in $(cat $group/cgroup.procs); do echo $pid > $group/init/cgroup.procs; done; \
         echo +memory > $group/cgroup.subtree_control; echo 8M > $group/part/memory.max; \
         sh -c 'echo 0 > '$group'/part/cgroup.procs; {GREEDY}'; kill -9 $PPID"
    );
    session.run(&framework(false), command("t", &line));
    let told = session.follow("t", TaskState::Failed);
    let failed = told.last().unwrap();
    assert_eq!(failed.reason, Some(Reason::EXECUTOR_TERMINATED));
    let message = failed.message.as_deref().unwrap();
    assert!(message.ends_with("killed 1 of its processes, though its own limit was not met"), "{message}");
}

#[test]
fn a_task_whose_sandbox_is_past_its_limit_fails_for_that_reason() {
    let flags = ["--enforce-container-disk-quota", "--container-disk-watch-interval=50ms"];
    let (place, master) = (Place::new(&flags), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    let run = |session: &mut crate::master::Session, id: &str, line: &str| {
        let mut task = command(id, line);
        task.resources.add_part(&Resource::scalar(DISK, Quantity::from_units(4)));
        session.run(&framework(false), task);
    };
    // 3 MiB are within it, and what lies elsewhere is nothing of the sandbox's.
    run(&mut session, "small", "ln -s / root; head -c 3145728 /dev/zero > file; sleep 1");
    session.follow("small", TaskState::Finished);
    run(&mut session, "large", "mkdir -p a/b; head -c 6291456 /dev/zero > a/b/file; sleep 1000");
    let told = session.follow("large", TaskState::Failed);
    let failed = told.last().unwrap();
    assert_eq!(
        (failed.source, failed.reason),
        (Some(Source::Agent), Some(Reason::CONTAINER_LIMITATION_DISK))
    );
    let message = failed.message.as_deref().unwrap();
    assert!(message.starts_with("Disk usage (") && message.ends_with("MB) exceeds quota (4MB)"), "{message}");
    let v1 = ::api::convert::status::to_v1(failed).unwrap();
    let limited = ::api::convert::resources::from_v1(&v1.limitation.unwrap().resources).unwrap();
    assert_eq!(limited.to_string(), "disk:4");
    drop(agent);
}

/// Tries to open devices, once a round, and writes what came of it.
const KNOCKING: &str = "for i in 1 2 3; do until [ -e go$i ]; do sleep 0.01; done; \
    for d in null zero kmsg; do { true < /dev/$d; } 2>&- && echo $d opened || echo $d refused; done > out$i.tmp; \
    mv out$i.tmp out$i; done; sleep 1000";

#[test]
fn devices_and_egress_are_held_across_the_agents_restart() {
    let name = "devices_and_egress_are_held_across_the_agents_restart";
    let (place, master) = (Place::new(&["--egress-rate-limit-per-container=4MB"]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    for program in ["devices", "egress"] {
        let state = agent.get("/state").json();
        let enforced = &state["ingot"]["enforcement"][program];
        if enforced["enforced"] != true {
            needs::skip(name, enforced["reason"].as_str().unwrap_or(program));
            return;
        }
    }
    session.run(&framework(true), command("t", KNOCKING));
    let running = session.follow("t", TaskState::Running);
    let container_id = running.last().unwrap().container.as_ref().unwrap().container_id.as_str().to_owned();
    let sandbox = agent.sandbox(&container_id);
    let knock = |round: u32| {
        std::fs::write(sandbox.join(format!("go{round}")), "").unwrap();
        let out = sandbox.join(format!("out{round}"));
        until("it has tried", || out.exists());
        std::fs::read_to_string(&out).unwrap()
    };
    let usual = "null opened\nzero opened\nkmsg refused\n";
    assert_eq!(knock(1), usual);
    agent.kill();
    // While there is no agent.
    assert_eq!(knock(2), usual);
    let kmsg = r#"{"allowed_devices": [{"device": {"path": "/dev/kmsg"}, "access": {"read": true}}]}"#;
    let flags = [format!("--allowed-devices={kmsg}"), "--egress-rate-limit-per-container=4MB".to_owned()];
    let place = place.again_with(&flags.each_ref().map(String::as_str));
    let (agent, mut session) = place.start(&master);
    session.register();
    let shown = || {
        let containers = agent.get("/containers").json();
        containers[0]["statistics"]["ingot"].clone()
    };
    // It was limited before this agent, and is found so.
    until("it is looked at again", || shown()["egress"]["dropped_packets"] == 0);
    assert_eq!(shown()["limits"]["egress_bytes_per_second"], 4 << 20);
    assert_eq!(knock(3), "null opened\nzero opened\nkmsg opened\n");
}

fn update(agent: &Agent, container_id: &str, what: &str) -> (u16, String) {
    let body = format!(
        r#"{{"type": "UPDATE_CONTAINER_LIMITS",
            "update_container_limits": {{"container_id": {{"value": "{container_id}"}}{what}}}}}"#
    );
    let headers = ["Content-Type: application/json"];
    let answer = crate::http::call(agent.address, "POST", "/slave(1)/api/v1", &headers, &body);
    (answer.status, answer.body)
}

/// Egress, since that is held on every machine where programs can be loaded.
#[test]
fn limits_are_changed_while_a_task_runs_and_stay_across_the_agents_restart() {
    let name = "limits_are_changed_while_a_task_runs_and_stay_across_the_agents_restart";
    let (place, master) = (Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    let enforcement = agent.get("/state").json()["ingot"]["enforcement"].clone();
    if enforcement["egress"]["enforced"] != true {
        needs::skip(name, enforcement["egress"]["reason"].as_str().unwrap_or("no egress"));
        return;
    }
    session.run(&framework(true), command("t", "sleep 1000"));
    let running = session.follow("t", TaskState::Running);
    let id = running.last().unwrap().container.as_ref().unwrap().container_id.as_str().to_owned();
    let shown = |agent: &Agent| {
        let limits = || agent.get("/containers").json()[0]["statistics"]["ingot"]["limits"].clone();
        until("it was looked at", || !limits().is_null());
        limits()["egress_bytes_per_second"].clone()
    };
    assert!(shown(&agent).is_null());
    assert_eq!(
        update(&agent, &id, r#", "limits": {"egress_bandwidth": {"value": 4.5}}"#),
        (200, String::new())
    );
    assert_eq!(shown(&agent), 9 << 19);

    let refused = |what: &str, status: u16, text: &str| {
        let (got, told) = update(&agent, &id, what);
        assert!(got == status && told.contains(text), "{got} {told}");
    };
    refused("", 400, "Nothing is to be changed");
    refused(r#", "limits": {"disk": {"value": 4}}"#, 400, "there is no limit 'disk'");
    refused(
        r#", "limits": {"egress_bandwidth": {"value": 0}}"#,
        400,
        "'limits.egress_bandwidth': expecting more",
    );
    refused(r#", "limits": {"cpus": {"value": 5}}"#, 400, "'limits.cpus': 5 is more than this agent has (4)");
    refused(r#", "unset": ["swap"]"#, 400, "'unset': there is no limit 'swap'");
    if enforcement["memory"]["enforced"] == false {
        refused(r#", "limits": {"mem": {"value": 64}}"#, 409, "'mem' is not enforced on this agent: ");
    }
    let (status, told) = update(&agent, "nobody", r#", "unset": ["cpus"]"#);
    assert_eq!((status, &*told), (404, "Container 'nobody' cannot be found"));
    assert_eq!(shown(&agent), 9 << 19, "what was refused has changed nothing");

    agent.kill();
    let (agent, mut session) = place.start(&master);
    session.register();
    assert_eq!(shown(&agent), 9 << 19);
    assert_eq!(update(&agent, &id, r#", "limits": {"egress_bandwidth": {"value": "Infinity"}}"#).0, 200);
    assert!(shown(&agent).is_null());
    assert_eq!(update(&agent, &id, r#", "unset": ["egress_bandwidth"]"#).0, 200);
}

/// Each as the kernel's files then say, and memory not below what is in use.
#[test]
#[ignore = "needs controllers in the v2 tree, which this project's test machine has not: for a VM"]
fn limits_of_every_controller_are_changed_while_a_task_runs() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    if !holds_memory("limits_of_every_controller_are_changed_while_a_task_runs", &agent) {
        return;
    }
    // 24 MiB of anonymous memory, which cannot be taken back.
    let line = "x=$(head -c 25165824 /dev/zero | tr '\\0' x); echo > ready; while :; do sleep 1; done";
    session.run(&framework(true), command("t", line));
    let running = session.follow("t", TaskState::Running);
    let id = running.last().unwrap().container.as_ref().unwrap().container_id.as_str().to_owned();
    let (group, sandbox) = (agent.cgroup(&id), agent.sandbox(&id));
    until("it holds its memory", || sandbox.join("ready").exists());
    let text = |file: &str| std::fs::read_to_string(group.join(file)).unwrap().trim().to_owned();
    let set = |what: &str| update(&agent, &id, &format!(r#", "limits": {{{what}}}"#));
    assert_eq!(
        set(r#""cpus": {"value": 0.5}, "mem": {"value": 128}, "pids": {"value": 99}"#),
        (200, String::new())
    );
    assert_eq!(["cpu.max", "memory.max", "pids.max"].map(text), ["50000 100000", "134217728", "99"]);
    assert_eq!(set(r#""mem": {"value": 80}"#), (200, String::new()));
    assert_eq!(text("memory.max"), "83886080");
    let used: u64 = text("memory.current").parse().unwrap();
    assert!(used > 24 << 20, "{used}");
    let (status, told) = set(r#""mem": {"value": 1}, "pids": {"value": 98}"#);
    println!("{told}");
    // The agent never goes below what an executor starts in, which this one may have got by with.
    if used > 32 << 20 {
        assert!(status == 409 && told.starts_with("'limits.mem': the container uses "), "{told}");
        assert_eq!(["memory.max", "pids.max"].map(text), ["83886080", "99"]);
    }
    assert_eq!(set(r#""cpus": {"value": "Infinity"}, "mem": {"value": "Infinity"}"#).0, 200);
    assert_eq!(["cpu.max", "memory.max"].map(text), ["max 100000", "max"]);
    assert_eq!(update(&agent, &id, r#", "unset": ["cpus", "mem", "pids"]"#).0, 200);
    assert_eq!(["memory.max", "pids.max"].map(text), [(96_u64 << 20).to_string(), "max".to_owned()]);
    let device = std::fs::read_to_string("/sys/block/nullb0/dev").unwrap();
    let line = format!("{} wbps=1048576", device.trim());
    assert_eq!(update(&agent, &id, &format!(r#", "io_max": ["{line}"]"#)), (200, String::new()));
    assert_eq!(text("io.max"), format!("{} rbps=max wbps=1048576 riops=max wiops=max", device.trim()));
    assert_eq!(update(&agent, &id, r#", "unset": ["io_max"]"#).0, 200);
    assert_eq!(text("io.max"), "");
}

/// Pages of a hugetlbfs of the test's own, of those that were set apart at the machine's boot.
#[test]
#[ignore = "needs the hugetlb controller in the v2 tree and huge pages, which this project's test machine has not: for a VM"]
fn huge_pages_are_had_up_to_the_operators_limit() {
    const PAGE: u64 = 2 << 20;
    let limit = format!("--cgroups-hugetlb-max=2MB={}", 2 * PAGE);
    let (place, master) = (Place::new(&[&limit]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    let enforced = agent.get("/state").json()["ingot"]["enforcement"]["hugetlb"].clone();
    if enforced["enforced"] != true {
        needs::skip("huge_pages_are_had_up_to_the_operators_limit", &enforced.to_string());
        return;
    }
    let pages = tempfile::tempdir().unwrap();
    let (kind, flags) = (Some("hugetlbfs"), nix::mount::MsFlags::empty());
    nix::mount::mount(kind, pages.path(), kind, flags, Some("pagesize=2M")).unwrap();
    let line = format!(
        "cd {}; fallocate -l {} two && echo two; fallocate -l {PAGE} third || echo no third; rm -f third two; \
         fallocate -l {PAGE} again && echo again; exec sleep 1000",
        pages.path().display(),
        2 * PAGE
    );
    session.run(&framework(false), command("t", &line));
    let running = session.follow("t", TaskState::Running);
    let id = running.last().unwrap().container.as_ref().unwrap().container_id.as_str().to_owned();
    let (group, stdout) = (agent.cgroup(&id), agent.sandbox(&id).join("stdout"));
    let told = || std::fs::read_to_string(&stdout).unwrap_or_default();
    until("it has tried", || told().ends_with("again\n"));
    let text = |file: &str| std::fs::read_to_string(group.join(file)).unwrap().trim().to_owned();
    let files = ["hugetlb.2MB.max", "hugetlb.2MB.current", "hugetlb.2MB.events"].map(text);
    drop(agent);
    nix::mount::umount2(pages.path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
    assert_eq!(told(), "two\nno third\nagain\n");
    let [max, current, events] = files;
    assert_eq!((max, current), ((2 * PAGE).to_string(), PAGE.to_string()));
    assert!(events.starts_with("max ") && events != "max 0", "{events}");
}
