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

fn page(scene: &Scene) -> String {
    let reply = scene.get("/metrics");
    assert_eq!((reply.status, reply.content_type), (200, Some(api::exposition::CONTENT_TYPE)));
    String::from_utf8(reply.body.to_vec()).expect("text")
}

#[test]
fn a_scrape_finds_the_node_and_each_container_with_its_owner() {
    let mut scene = Scene::recorded();
    let own = document(&scene, "/containers")[0].clone();
    let text = |name: &str| own[name].as_str().expect("an id").to_owned();
    scene.usage = Some(Usage {
        cpu_ns: 1_500_000_000,
        memory_current_bytes: 4096,
        sources: by(Source::Bpf),
        ..Usage::default()
    });
    scene.detail = Detail {
        run_queue: latency(&[500, 3_000]),
        devices: vec![Device {
            major: 8,
            minor: 3,
            read_ops: 7,
            latency: latency(&[9]),
            ..Device::default()
        }],
        preempted_by: vec![Preemption { by: Preempter::System, count: 2, waited_ns: 1_000_000 }],
        ..Detail::default()
    };
    let page = page(&scene);
    let task = scene.frameworks[0].executors[0].tasks[0].info.task_id.clone();
    let labels = format!(
        "container_id=\"{}\",framework_id=\"{}\",executor_id=\"{}\",task_id=\"{task}\"",
        text("container_id"),
        text("framework_id"),
        text("executor_id")
    );
    for line in [
        format!("ingot_container_cpu_seconds_total{{{labels}}} 1.5"),
        format!("ingot_container_memory_current_bytes{{{labels}}} 4096"),
        format!("ingot_container_cpus_guaranteed{{{labels}}} 0.2"),
        format!("ingot_container_run_queue_latency_seconds_bucket{{{labels},le=\"0.000001024\"}} 1"),
        format!("ingot_container_run_queue_latency_seconds_sum{{{labels}}} 0.0000035"),
        format!("ingot_container_device_read_ops_total{{{labels},device=\"sda3\"}} 7"),
        format!("ingot_container_device_latency_seconds_count{{{labels},device=\"sda3\"}} 1"),
        format!("ingot_container_preempted_by_seconds_total{{{labels},by=\"system\"}} 0.001"),
        "ingot_node_cpu_seconds_total 5".to_owned(),
        "ingot_node_load1 1.25".to_owned(),
        "ingot_agent_resource{resource=\"cpus\"} 4".to_owned(),
        "ingot_agent_tasks{state=\"TASK_RUNNING\"} 1".to_owned(),
        "ingot_figure_supported{figure=\"network\"} 0".to_owned(),
        "ingot_limit_enforced{controller=\"cpu\"} 1".to_owned(),
        "ingot_containers{group=\"cpu\",source=\"bpf\"} 1".to_owned(),
        "ingot_bpf_program_run_seconds_total{program=\"switch\"} 0.00000045".to_owned(),
        "ingot_accounting_losses_total{loss=\"container_not_counted\"} 1".to_owned(),
    ] {
        assert!(page.lines().any(|it| it == line), "{line} is not in\n{page}");
    }
    let own = page.lines().find_map(|it| it.strip_prefix("process_resident_memory_bytes "));
    assert!(own.is_some_and(|bytes| bytes.parse::<u64>().expect("a number") > 1 << 20), "{own:?}");
    for figure in Usage::FIGURES {
        let stem = figure.name.trim_end_matches("_ns").trim_end_matches("_milli");
        assert!(page.contains(&format!("\ningot_container_{stem}")), "{stem}");
    }
}

#[test]
fn a_scrape_shows_no_figure_that_nobody_tells() {
    let mut scene = Scene::recorded();
    scene.usage =
        Some(Usage { sources: Sources { cpu: Source::Proc, ..Sources::default() }, ..Usage::default() });
    let page = page(&scene);
    assert!(page.contains("\ningot_container_cpu_seconds_total{"), "{page}");
    for absent in ["run_queue", "tcp_rtt", "memory_current", "net_rx", "device"] {
        assert!(!page.contains(&format!("ingot_container_{absent}")), "{absent}");
    }
}
