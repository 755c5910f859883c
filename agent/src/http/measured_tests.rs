//! What containers use, as documents and messages show it, beside those of a real Mesos 1.11.0.

use super::fixture::{Scene, golden};
use super::tests::{call, difference, document, misshapen, post, said};
use api::media::{JSON, PROTOBUF};
use api::v1::agent::{Call, Response, call as calls};
use api::{json, protobuf};
use model::id::ContainerId;
use model::latency::Latency;
use model::usage::{Detail, Device, Group, Preempter, Preemption, Source, Sources, Usage};
use serde_json::{Value, json};

fn statistics(scene: &Scene) -> Value {
    document(scene, "/monitor/statistics")[0]["statistics"].clone()
}

fn by(source: Source) -> Sources {
    Sources::from_array([source; Group::COUNT])
}

fn latency(all: &[u64]) -> Latency {
    let mut latency = Latency::default();
    all.iter().for_each(|ns| latency.record(*ns));
    latency
}

/// What that Mesos, which had no isolators but the portable ones, could not tell.
const MORE: [&str; 7] = [
    "ingot",
    "cpus_limit",
    "cpus_nr_periods",
    "cpus_nr_throttled",
    "cpus_throttled_time_secs",
    "processes",
    "threads",
];

/// What is left when that is taken out, at the moment that it had.
fn as_there(mut statistics: Value, expect: &Value) -> Value {
    let of = statistics.as_object_mut().expect("an object");
    MORE.iter().for_each(|name| drop(of.remove(*name)));
    of["timestamp"] = expect["timestamp"].clone();
    statistics
}

#[test]
fn figures_are_under_the_names_that_mesos_has_for_them() {
    let mut scene = Scene::recorded();
    for (path, name) in
        [("/slave(1)/containers", "agent-containers"), ("/monitor/statistics", "agent-monitor-statistics")]
    {
        let (expect, mut got) = (golden(name), document(&scene, path));
        assert_eq!(misshapen(path, &expect, &got, &MORE), None);
        assert_eq!(got[0]["statistics"]["ingot"]["usage"]["cpu_user_ns"], 90_000_000);
        got[0]["statistics"] = as_there(got[0]["statistics"].take(), &expect[0]["statistics"]);
        assert_eq!(difference(path, &expect, &got), None);
    }
    scene.usage = None;
    assert_eq!(document(&scene, "/monitor/statistics"), json!([]), "nobody has looked yet");
    assert!(document(&scene, "/containers")[0].get("statistics").is_none());
}

#[test]
fn charged_memory_is_told_with_its_parts_and_resident_pages_as_far_as_they_go() {
    let mut scene = Scene::recorded();
    let usage = |source| Usage {
        memory_current_bytes: 100,
        memory_anon_bytes: 60,
        memory_file_bytes: 30,
        memory_kernel_bytes: 10,
        memory_swap_bytes: 5,
        periods: 9,
        throttled_periods: 4,
        throttled_ns: 1_500_000_000,
        sources: Sources { memory: source, ..Sources::default() },
        ..Usage::default()
    };
    let told = |scene: &Scene, of: &[(&str, u64)]| {
        let got = statistics(scene);
        for (name, value) in of {
            assert_eq!(got[*name], *value, "{name}");
        }
        got
    };
    scene.usage = Some(usage(Source::Cgroup));
    let charged = [
        ("mem_total_bytes", 100),
        ("mem_total_memsw_bytes", 105),
        ("mem_rss_bytes", 60),
        ("mem_anon_bytes", 60),
        ("mem_file_bytes", 30),
        ("mem_cache_bytes", 30),
        ("mem_swap_bytes", 5),
        ("mem_kmem_usage_bytes", 10),
        ("cpus_nr_periods", 9),
        ("cpus_nr_throttled", 4),
    ];
    let got = told(&scene, &charged);
    assert_eq!(got["cpus_throttled_time_secs"], 1.5);
    assert!(got.get("cpus_user_time_secs").is_none(), "nobody could tell: {got}");
    scene.usage = Some(usage(Source::Bpf));
    let got = told(&scene, &[("mem_rss_bytes", 100), ("mem_anon_bytes", 60), ("mem_mapped_file_bytes", 30)]);
    assert!(got.get("mem_total_bytes").is_none(), "{got}");
}

#[test]
fn network_and_devices_are_told_as_isolators_tell_them() {
    let mut scene = Scene::recorded();
    scene.usage = Some(Usage {
        net_rx_bytes: 7,
        net_tx_packets: 8,
        tcp_retransmits: 3,
        tcp_accepts: 2,
        sources: by(Source::Bpf),
        ..Usage::default()
    });
    let device =
        |minor, read_ops, write_bytes| Device { major: 8, minor, read_ops, write_bytes, ..Device::default() };
    scene.detail = Detail {
        tcp_rtt_recent: latency(&[2_000_000; 10]),
        devices: vec![device(0, 5, 4096), device(1, 1, 512)],
        ..Detail::default()
    };
    let got = statistics(&scene);
    assert_eq!((&got["net_rx_bytes"], &got["net_tx_packets"]), (&json!(7), &json!(8)));
    for name in ["p50", "p90", "p95", "p99"].map(|name| format!("net_tcp_rtt_microsecs_{name}")) {
        let us = got[&name].as_f64().expect(&name);
        assert!((1_048.0..=2_098.0).contains(&us), "{name} {us}");
    }
    let tcp = json!({"tcp_stats": {"PassiveOpens": 2, "RetransSegs": 3}});
    assert_eq!(got["net_snmp_statistics"], tcp);
    let throttling = &got["blkio_statistics"]["throttling"];
    let operations = |read: u64, write: u64| json!([{"op": "READ", "value": read}, {"op": "WRITE", "value": write}, {"op": "TOTAL", "value": read + write}]);
    let expect = json!({
        "device": {"major_number": 8, "minor_number": 0},
        "io_serviced": operations(5, 0), "io_service_bytes": operations(0, 4096),
    });
    assert_eq!(throttling[0], expect);
    let total = json!({
        "io_serviced": [{"op": "TOTAL", "value": 6}], "io_service_bytes": [{"op": "TOTAL", "value": 4608}],
    });
    assert_eq!(throttling[2], total, "without a device: all of them");
}

#[test]
fn what_lies_behind_the_figures_stands_under_the_one_key() {
    let mut scene = Scene::recorded();
    let own = document(&scene, "/containers")[0]["container_id"].as_str().expect("an id").to_owned();
    let framework = scene.frameworks[0].info.clone();
    let preemption = |by, count| Preemption { by, count, waited_ns: 10 * count };
    scene.usage = Some(Usage { sources: by(Source::Bpf), ..Usage::default() });
    scene.detail = Detail {
        run_queue: latency(&[500, 3_000]),
        devices: vec![Device {
            major: 8,
            minor: 3,
            read_bytes: 1,
            latency: latency(&[5_000]),
            ..Device::default()
        }],
        preempted_by: vec![
            preemption(Preempter::Container(ContainerId::new(&own)), 3),
            preemption(Preempter::Container(ContainerId::new("gone")), 2),
            preemption(Preempter::System, 1),
        ],
        ..Detail::default()
    };
    let got = statistics(&scene)["ingot"].clone();
    let run_queue = &got["latency"]["run_queue"];
    assert_eq!((&run_queue["count"], &run_queue["sum_ns"]), (&json!(2), &json!(3_500)));
    let buckets = run_queue["buckets"].as_array().expect("a list");
    assert_eq!((&buckets[0], &buckets[2], buckets.len()), (&json!(1), &json!(1), Latency::BUCKETS));
    let bounds = got["latency"]["bounds_ns"].as_array().expect("a list");
    assert_eq!((&bounds[0], bounds.len()), (&json!(1024), Latency::BUCKETS - 1));
    assert_eq!(got["latency"]["tcp_rtt"]["count"], 0);
    assert!(got["latency"]["tcp_rtt"].get("p50_ns").is_none(), "of nothing there are none");
    let device = &got["devices"][0];
    assert_eq!((&device["device"], &device["name"]), (&json!("8:3"), &json!("sda3")));
    assert_eq!((&device["read_bytes"], &device["latency"]["count"]), (&json!(1), &json!(1)));
    let by = &got["preempted_by"];
    assert_eq!(by[0]["framework_id"], framework.framework_id.expect("it has one").as_str());
    assert_eq!((&by[0]["framework_name"], &by[0]["kind"]), (&json!(&*framework.name), &json!("container")));
    assert!(by[0]["tasks"][0]["id"].is_string(), "{by}");
    assert_eq!(by[1], json!({"kind": "container", "container_id": "gone", "count": 2, "waited_ns": 20}));
    assert_eq!(by[2], json!({"kind": "system", "count": 1, "waited_ns": 10}));
}

/// A recorded answer to GET_CONTAINERS is not at hand: it is made of the same list as the recorded `/containers`, field
/// by field.
#[test]
fn get_containers_is_what_containers_says_as_a_message() {
    let scene = Scene::recorded();
    let wrapped = |value: &Value| json!({ "value": value });
    let recorded = golden("agent-containers")[0].clone();
    let expect = json!({
        "framework_id": wrapped(&recorded["framework_id"]),
        "executor_id": wrapped(&recorded["executor_id"]),
        "executor_name": recorded["executor_name"],
        "container_id": wrapped(&recorded["container_id"]),
        "container_status": recorded["status"],
        "resource_statistics": recorded["statistics"],
    });
    let plain = said(&scene, "GET_CONTAINERS");
    let mut got = plain["get_containers"]["containers"][0].clone();
    assert!(got["resource_statistics"].get("ingot").is_none(), "a message has no place for it");
    got["resource_statistics"] = as_there(got["resource_statistics"].take(), &recorded["statistics"]);
    assert_eq!(difference("GET_CONTAINERS", &expect, &got), None);
    for (nested, standalone) in [(false, false), (true, false), (false, true), (true, true)] {
        let which = json!({"show_nested": nested, "show_standalone": standalone});
        let reply = call(&scene, &json!({"type": "GET_CONTAINERS", "get_containers": which}));
        assert_eq!((reply.status, reply.content_type), (200, Some(JSON)));
        let got: Value = serde_json::from_slice(&reply.body).expect("a document");
        assert_eq!(got, plain, "there are none of these kinds");
    }
    let asked = Call { r#type: Some(calls::Type::GetContainers.into()), ..Call::default() };
    let headers = [("content-type", PROTOBUF), ("accept", PROTOBUF)];
    let reply = post(&scene, &headers, protobuf::encode(&asked));
    let decoded: Response = protobuf::decode(&reply.body).expect("a response");
    assert_eq!(decoded, json::from_slice(plain.to_string().as_bytes()).expect("a response"));
    let mut empty = Scene::recorded();
    empty.frameworks.clear();
    assert_eq!(said(&empty, "GET_CONTAINERS"), json!({"type": "GET_CONTAINERS"}));
}
