//! Event streams in protobuf, and subscribers that do not read.

use crate::agent::Agent;
use crate::http::{Scheduler, framework, get, task};
use crate::{PATIENCE, start};
use api::v1;
use api::v1::scheduler::event::Type;
use bytes::Bytes;
use model::id::FrameworkId;
use model::task::TaskState;
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;
use wire::message::ToMaster;

/// Subscribes in protobuf; the records follow.
fn subscribe_in_protobuf(master: SocketAddr) -> (String, BufReader<TcpStream>) {
    let mut stream = TcpStream::connect(master).expect("the master listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut call = v1::scheduler::Call::default();
    call.set_type(v1::scheduler::call::Type::Subscribe);
    let framework_info =
        v1::FrameworkInfo { user: "root".into(), name: "pb".into(), ..v1::FrameworkInfo::default() };
    call.subscribe = Some(v1::scheduler::call::Subscribe { framework_info, ..Default::default() });
    let body = api::protobuf::encode(&call);
    let head = format!(
        "POST /master/api/v1/scheduler HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nAccept: \
         application/x-protobuf\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).expect("written");
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).expect("a line") > 0, "{head}");
    }
    (head, reader)
}

fn next(reader: &mut BufReader<TcpStream>) -> v1::scheduler::Event {
    let mut size = String::new();
    reader.read_line(&mut size).expect("a chunk");
    let mut chunk = vec![0; usize::from_str_radix(size.trim(), 16).expect("a size") + 2];
    reader.read_exact(&mut chunk).expect("a whole chunk");
    let mut records = api::recordio::Decoder::default();
    records.push(&chunk[..chunk.len() - 2]);
    let record: Bytes = records.next_record().expect("a record").expect("a whole one");
    assert_eq!(records.next_record(), Ok(None), "one record a chunk");
    api::protobuf::decode(&record).expect("an event")
}

#[test]
fn protobuf_is_spoken_as_well() {
    let master = start();
    let (head, mut reader) = subscribe_in_protobuf(master.address());
    assert!(head.contains("Content-Type: application/x-protobuf\r\n"), "{head}");
    let subscribed = next(&mut reader).subscribed.expect("SUBSCRIBED");
    assert!(subscribed.framework_id.value.ends_with("-0000"));
    assert_eq!(next(&mut reader).r#type(), Type::Heartbeat);
    let agent = Agent::register(master.address(), 5051, "cpus:2;ports:[1-9]");
    let offers = next(&mut reader).offers.expect("OFFERS");
    assert_eq!(offers.offers[0].agent_id.value, agent.id.as_str());
    assert_eq!(offers.offers[0].resources.len(), 2);
    master.stop();
}

#[test]
fn who_does_not_read_is_cut_off_and_nobody_else_waits() {
    const MESSAGE_BYTES: usize = 1 << 20;
    let master = start();
    let at = master.address();
    let slow = Scheduler::subscribe(at, framework());
    let mut other = Scheduler::subscribe(at, framework());
    let mut agent = Agent::register(at, 5051, "cpus:1");
    let message = |id: &str, bytes: usize| ToMaster::ExecutorMessage {
        framework_id: FrameworkId::new(id),
        executor_id: "e".into(),
        data: vec![7; bytes].into(),
    };
    // More than the queue's 64 MiB and what the kernel's buffers take.
    for _ in 0..48 {
        agent.say(&message(&slow.framework_id, MESSAGE_BYTES));
    }
    agent.say(&message(&other.framework_id, 3));
    loop {
        let event = other.next().expect("its stream goes on");
        if event["type"] == "MESSAGE" {
            break;
        }
    }
    let until = Instant::now() + PATIENCE;
    loop {
        let frameworks = get(at, "/frameworks").json();
        let all = frameworks["frameworks"].as_array().expect("a list");
        let active =
            |id: &str| all.iter().find(|framework| framework["id"] == id).map(|f| f["active"] == true);
        assert_eq!(active(&other.framework_id), Some(true));
        if active(&slow.framework_id) == Some(false) {
            break;
        }
        assert!(Instant::now() < until, "{frameworks}");
    }
    master.stop();
}

#[test]
fn a_scheduler_that_comes_back_with_its_id_hears_of_its_task() {
    let master = start();
    let at = master.address();
    let mut agent = Agent::register(at, 5051, "cpus:1");
    let mut scheduler = Scheduler::subscribe(at, framework());
    let offer = scheduler.offer();
    scheduler.launch(&offer, json!([task("t", &offer, 1.0)]), 0.0);
    let ran = agent.next_run();
    let id = FrameworkId::new(&scheduler.framework_id);
    let mut info = framework();
    info["id"] = json!({"value": scheduler.framework_id});
    drop(scheduler);
    agent.update(&id, &ran.task_id, TaskState::Finished);
    let mut back = Scheduler::subscribe(at, info);
    let told = agent.hear();
    assert!(matches!(told, wire::message::ToAgent::UpdateFramework { .. }), "{told:?}");
    agent.update(&id, &ran.task_id, TaskState::Finished);
    let status = back.expect_among("UPDATE", &["OFFERS"])["update"]["status"].clone();
    assert_eq!((&status["task_id"]["value"], &status["state"]), (&json!("t"), &json!("TASK_FINISHED")));
    master.stop();
}
