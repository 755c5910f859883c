//! What a task brings with it, and what it leaves behind.

use crate::agent::{Place, until};
use crate::master::{Master, Session, command, framework};
use ::api::v1;
use model::task::{Reason, TaskInfo, TaskState};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A command task with files.
fn with_uris(task_id: &str, shell: &str, uris: &[v1::command_info::Uri]) -> TaskInfo {
    let task = ::api::convert::task::to_v1(&command(task_id, shell)).unwrap();
    let command = v1::CommandInfo { uris: uris.to_vec(), ..task.command.clone().unwrap() };
    ::api::convert::task::from_v1(&v1::TaskInfo { command: Some(command), ..task }).unwrap()
}

fn uri(value: &str) -> v1::command_info::Uri {
    v1::command_info::Uri { value: value.to_owned(), ..v1::command_info::Uri::default() }
}

/// Gives `content` to the first who asks, and hears nobody after that.
fn serve_once(content: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", content.len()).unwrap();
        stream.write_all(&content).unwrap();
    });
    address.to_string()
}

/// A program that says who called it.
fn tgz() -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut builder = tar::Builder::new(gzip);
    let program = b"#!/bin/sh\necho \"hello, $1\"\n";
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(program.len() as u64);
    builder.append_data(&mut header, "app/bin/hello", &program[..]).unwrap();
    builder.into_inner().unwrap().finish().unwrap()
}

#[test]
fn a_program_comes_in_an_archive_over_http_once_for_all_tasks() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    let cached =
        v1::command_info::Uri { cache: Some(true), ..uri(&format!("http://{}/app.tgz", serve_once(tgz()))) };
    for task in ["one", "two"] {
        session.run(
            &framework(false),
            with_uris(task, &format!("app/bin/hello {task}"), std::slice::from_ref(&cached)),
        );
        let told = session.follow(task, TaskState::Finished);
        let container = told.last().unwrap().container.clone().unwrap();
        let sandbox = agent.sandbox(container.container_id.as_str());
        assert_eq!(std::fs::read_to_string(sandbox.join("stdout")).unwrap(), format!("hello, {task}\n"));
    }
    let metrics: Value = serde_json::from_str(&agent.get("/metrics/snapshot").body).unwrap();
    let fetcher = |name: &str| metrics[format!("containerizer/fetcher/{name}")].as_f64().unwrap();
    assert_eq!((fetcher("task_fetches_succeeded"), fetcher("task_fetches_failed")), (2.0, 0.0));
    assert_eq!(fetcher("cache_size_used_bytes"), tgz().len() as f64);
    assert_eq!(fetcher("cache_size_total_bytes"), f64::from(1u32 << 31));
}

#[test]
fn a_file_that_cannot_be_had_fails_the_task_by_name() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    let wrong = format!("http://{}/app.tgz#sha256={}", serve_once(tgz()), "0".repeat(64));
    for (task, value, expect) in [
        ("none", "/no/such/file", "fetch '/no/such/file': read it: No such file or directory (os error 2)"),
        ("scheme", "hdfs://host/f", "fetch 'hdfs://host/f': scheme 'hdfs' is not supported"),
        ("sum", &wrong, "/app.tgz#sha256=0000"),
    ] {
        session.run(&framework(false), with_uris(task, "true", &[uri(value)]));
        let told = session.follow(task, TaskState::Failed);
        let last = told.last().unwrap();
        assert_eq!(last.reason, Some(Reason::CONTAINER_LAUNCH_FAILED));
        let message = last.message.as_deref().unwrap();
        assert!(message.starts_with("Failed to launch container: fetch '"), "{message}");
        assert!(message.contains(expect), "{message}");
        let stderr = agent.sandbox(task).join("runs/latest/stderr");
        let stderr = std::fs::read_to_string(stderr).unwrap();
        assert_eq!(
            stderr,
            format!("Failed to {}\n", message.strip_prefix("Failed to launch container: ").unwrap())
        );
    }
}

fn run_to_the_end(session: &mut Session, task: &str, checkpoint: bool) -> String {
    session.run(&framework(checkpoint), command(task, "echo left > behind"));
    let told = session.follow(task, TaskState::Finished);
    told.last().unwrap().container.clone().unwrap().container_id.to_string()
}

/// Every folder below, by its name.
fn folders(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.file_name().into_string().unwrap());
            found.extend(folders(&entry.path()));
        }
    }
    found
}

#[test]
fn what_is_over_is_deleted_when_its_time_has_come() {
    let place = Place::new(&["--gc-delay=50ms", "--disk-watch-interval=20ms"]);
    let master = Master::start();
    let (agent, mut session) = place.start(&master);
    session.register();
    session.run(&framework(true), command("stays", "sleep 1000"));
    let told = session.follow("stays", TaskState::Running);
    let stays = told.last().unwrap().container.clone().unwrap().container_id.to_string();
    let goes = run_to_the_end(&mut session, "goes", true);
    until("sandbox and checkpoint of what is over are gone", || {
        !folders(place.work_dir()).iter().any(|name| *name == goes || name == "goes")
    });
    let left = folders(place.work_dir());
    // Sandbox, checkpoint, and what its init process writes.
    assert_eq!(left.iter().filter(|name| **name == stays).count(), 3, "{left:?}");
    let metrics: Value = serde_json::from_str(&agent.get("/metrics/snapshot").body).unwrap();
    assert_eq!(metrics["gc/path_removals_failed"], 0.0);
    assert!(metrics["gc/path_removals_succeeded"].as_f64().unwrap() >= 1.0);
    session.kill("stays", Some(0));
    session.follow("stays", TaskState::Killed);
    until("a framework that is over has no folders left", || {
        !folders(place.work_dir()).iter().any(|name| *name == stays || name == "F")
    });
}

#[test]
fn what_is_due_is_found_again_by_the_agents_next_life() {
    let (place, master) = (Place::new(&["--gc-delay=1hrs"]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    let old = run_to_the_end(&mut session, "old", true);
    let new = run_to_the_end(&mut session, "new", true);
    let sandbox = agent.sandbox(&old);
    let executors = place.work_dir().join("meta/slaves/M-S0/frameworks/F/executors");
    let meta = executors.join("old/runs").join(&old);
    for run in [meta.clone(), executors.join("new/runs").join(&new)] {
        until("the run is over", || run.join("executor.done").exists());
    }
    agent.kill();
    // Time passes.
    let long_ago = SystemTime::now() - Duration::from_secs(7200);
    let mut aged = vec![sandbox.join("stdout"), sandbox.join("stderr"), sandbox];
    aged.push(meta);
    for path in aged {
        std::fs::File::open(path).unwrap().set_modified(long_ago).unwrap();
    }
    let earlier = place.work_dir().join("slaves/M-S9/frameworks/G/executors/e/runs/c9");
    std::fs::create_dir_all(&earlier).unwrap();
    std::fs::File::open(&earlier).unwrap().set_modified(long_ago).unwrap();
    let (agent, _session) = place.start(&master);
    until("what is due is gone", || {
        let names = folders(place.work_dir());
        !names.contains(&old) && !names.iter().any(|name| name == "M-S9")
    });
    assert!(agent.sandbox(&new).join("behind").exists());
    let pending = || {
        let metrics: Value = serde_json::from_str(&agent.get("/metrics/snapshot").body).unwrap();
        metrics["gc/path_removals_pending"].as_f64().unwrap()
    };
    assert!(pending() >= 1.0);
}
