//! Figures under the names that Mesos has for them. What nobody here can tell is left out, as Mesos leaves out what no
//! isolator of it reports; so is what we count otherwise than its name says. `perf` and the figures of traffic control,
//! of a network namespace's protocols and of disk quotas have nobody who tells them.

use super::{Facts, Figures};
use api::convert::time;
use api::v1::cgroup_info::blkio::{self, Operation, Value, throttling};
use api::v1::{ResourceStatistics, SnmpStatistics, TcpStatistics, device};
use model::latency::Latency;
use model::resources::MEM;
use model::usage::{Device, Source, Usage};

pub(super) fn of(facts: &Facts<'_>, figures: &Figures) -> ResourceStatistics {
    let Figures { usage, detail, taken, limits, .. } = figures;
    let cpus = |milli: u64| milli as f64 / 1e3;
    let mut out =
        ResourceStatistics {
            timestamp: time::seconds(*taken),
            cpus_soft_limit: Some(cpus(limits.cpus_milli)),
            // Without a limit the guarantee, as in Mesos before 1.11: dashboards hold the figures against it.
            cpus_limit: Some(cpus(limits.cpus_max_milli.unwrap_or(limits.cpus_milli))),
            mem_soft_limit_bytes: Some(limits.memory_bytes),
            // Without a bound: what there is.
            mem_limit_bytes: Some(limits.memory_max_bytes.unwrap_or_else(|| {
                facts.known.info.total.scalar(MEM).milli().saturating_mul(1 << 20) / 1000
            })),
            processes: Some(narrow(usage.processes)),
            threads: Some(narrow(usage.threads)),
            ..ResourceStatistics::default()
        };
    cpu(&mut out, usage, facts.enforcement.cpu.is_yes());
    memory(&mut out, usage);
    network(&mut out, usage, &detail.tcp_rtt_recent);
    if usage.sources.io != Source::None && !detail.devices.is_empty() {
        out.blkio_statistics = Some(blkio(&detail.devices));
    }
    out
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn cpu(out: &mut ResourceStatistics, usage: &Usage, is_limited: bool) {
    if usage.sources.cpu != Source::None {
        out.cpus_user_time_secs = Some(seconds(usage.cpu_user_ns));
        out.cpus_system_time_secs = Some(seconds(usage.cpu_system_ns));
    }
    if is_limited {
        out.cpus_nr_periods = Some(narrow(usage.periods));
        out.cpus_nr_throttled = Some(narrow(usage.throttled_periods));
        out.cpus_throttled_time_secs = Some(seconds(usage.throttled_ns));
    }
}

fn memory(out: &mut ResourceStatistics, usage: &Usage) {
    match usage.sources.memory {
        Source::None => {}
        // All that is charged, and its parts.
        Source::Cgroup => {
            out.mem_total_bytes = Some(usage.memory_current_bytes);
            out.mem_total_memsw_bytes =
                Some(usage.memory_current_bytes.saturating_add(usage.memory_swap_bytes));
            out.mem_rss_bytes = Some(usage.memory_anon_bytes);
            out.mem_anon_bytes = Some(usage.memory_anon_bytes);
            out.mem_file_bytes = Some(usage.memory_file_bytes);
            out.mem_cache_bytes = Some(usage.memory_file_bytes);
            out.mem_swap_bytes = Some(usage.memory_swap_bytes);
            out.mem_kmem_usage_bytes = Some(usage.memory_kernel_bytes);
        }
        // Resident pages of its processes: those of files are mapped by it, the page cache's others are nobody's here.
        Source::Bpf | Source::Proc => {
            out.mem_rss_bytes = Some(usage.memory_current_bytes);
            if usage.memory_anon_bytes + usage.memory_file_bytes > 0 {
                out.mem_anon_bytes = Some(usage.memory_anon_bytes);
                out.mem_mapped_file_bytes = Some(usage.memory_file_bytes);
            }
        }
    }
}

fn network(out: &mut ResourceStatistics, usage: &Usage, rtt: &Latency) {
    if usage.sources.network != Source::None {
        out.net_rx_bytes = Some(usage.net_rx_bytes);
        out.net_rx_packets = Some(usage.net_rx_packets);
        out.net_tx_bytes = Some(usage.net_tx_bytes);
        out.net_tx_packets = Some(usage.net_tx_packets);
    }
    if usage.sources.tcp == Source::None {
        return;
    }
    let quantile = |per_mille| rtt.quantile_ns(per_mille).map(|ns| ns as f64 / 1e3);
    out.net_tcp_rtt_microsecs_p50 = quantile(500);
    out.net_tcp_rtt_microsecs_p90 = quantile(900);
    out.net_tcp_rtt_microsecs_p95 = quantile(950);
    out.net_tcp_rtt_microsecs_p99 = quantile(990);
    // Only these two of RFC 2012's are counted as the protocol does: our connects leave out attempts that failed (which
    // `ActiveOpens` has), and our packets are what leaves the host's stack, segments not yet cut.
    let signed = |count| i64::try_from(count).ok();
    out.net_snmp_statistics = Some(SnmpStatistics {
        tcp_stats: Some(TcpStatistics {
            passive_opens: signed(usage.tcp_accepts),
            retrans_segs: signed(usage.tcp_retransmits),
            ..TcpStatistics::default()
        }),
        ..SnmpStatistics::default()
    });
}

/// As `blkio.throttle.io_serviced` and `io_service_bytes` of cgroup v1 say it: each device, and without a device all.
fn blkio(devices: &[Device]) -> blkio::Statistics {
    let value = |op: Operation, value| Value { op: Some(op.into()), value: Some(value) };
    let each = |read: u64, write: u64| {
        vec![
            value(Operation::Read, read),
            value(Operation::Write, write),
            value(Operation::Total, read.saturating_add(write)),
        ]
    };
    let mut throttling: Vec<_> = devices
        .iter()
        .map(|it| throttling::Statistics {
            device: Some(device::Number { major_number: it.major.into(), minor_number: it.minor.into() }),
            io_serviced: each(it.read_ops, it.write_ops),
            io_service_bytes: each(it.read_bytes, it.write_bytes),
        })
        .collect();
    let sum = |of: fn(&Device) -> u64| devices.iter().map(of).fold(0, u64::saturating_add);
    let ops = sum(|it| it.read_ops.saturating_add(it.write_ops));
    let bytes = sum(|it| it.read_bytes.saturating_add(it.write_bytes));
    throttling.push(throttling::Statistics {
        device: None,
        io_serviced: vec![value(Operation::Total, ops)],
        io_service_bytes: vec![value(Operation::Total, bytes)],
    });
    blkio::Statistics { throttling, ..blkio::Statistics::default() }
}
