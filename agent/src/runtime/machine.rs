//! What the machine is and has: found out at the start, and for each usage report.

use model::quantity::Quantity;
use model::resources::{CPUS, DISK, MEM, PORTS, Resource, Resources, Value};
use model::usage::NodeUsage;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::sync::Arc;

const MIB: u64 = 1 << 20;

/// Ports that tasks may be given when the operator names none (Mesos: `DEFAULT_PORTS`).
const PORTS_DEFAULT: (u64, u64) = (31_000, 32_000);

/// A machine that does not say who it is.
#[derive(Debug, thiserror::Error)]
#[error("read {path}")]
pub struct MachineError {
    path: &'static str,
    source: io::Error,
}

/// What tasks may have of this machine when the operator does not say. A share is kept for the system, as Mesos does: of
/// memory 1 GiB and of the work directory's disk 5 GiB, half of each where there is little.
pub(crate) fn resources(work_dir: &Path) -> Resources {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let cpus = Quantity::from_units(u64::try_from(cpus).expect("a number of CPUs"));
    let memory = memory().0 / MIB;
    let disk = nix::sys::statvfs::statvfs(work_dir).map_or(0, |fs| fs.blocks() * fs.fragment_size()) / MIB;
    let keep = |total: u64, kept: u64| if total > 2 * kept { total - kept } else { total / 2 };
    let ports = model::ranges::Ranges::new([PORTS_DEFAULT]);
    [
        Resource::scalar(CPUS, cpus),
        Resource::scalar(MEM, Quantity::from_units(keep(memory, 1024))),
        Resource::scalar(DISK, Quantity::from_units(keep(disk, 5 * 1024))),
        Resource::new(PORTS, Value::Ranges(ports)),
    ]
    .into_iter()
    .collect()
}

/// Names this boot of the machine.
pub(crate) fn boot_id() -> Result<Arc<str>, MachineError> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(path).map_err(|source| MachineError { path, source })?;
    Ok(Arc::from(text.trim()))
}

/// The address that a packet to the master would leave from; `None` when there is no way to it.
pub(crate) fn address_towards(master: &str) -> Option<IpAddr> {
    let master: SocketAddr = master.to_socket_addrs().ok()?.next()?;
    let any: IpAddr = if master.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    // Sends nothing: it only asks the routing table.
    socket.connect(master).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

pub(crate) fn hostname(ip: IpAddr) -> String {
    let own = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    match own {
        Some(name) if !ip.is_loopback() && !name.is_empty() => name,
        _ if ip.is_loopback() => "localhost".to_owned(),
        _ => ip.to_string(),
    }
}

/// Total and available memory, bytes.
fn memory() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    (line("MemTotal:").unwrap_or(0) * 1024, line("MemAvailable:").unwrap_or(0) * 1024)
}

/// What the whole machine uses. A figure that cannot be read is zero.
pub(crate) fn usage() -> NodeUsage {
    let (memory_total_bytes, memory_available_bytes) = memory();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut loads = load.split(' ').map(|text| text.parse::<Quantity>().map_or(0, Quantity::milli));
    let mut next_load = || loads.next().unwrap_or(0);
    NodeUsage {
        cpu_ns: busy_ns(),
        cpus_milli: u64::try_from(cpus).expect("a number of CPUs") * 1000,
        memory_total_bytes,
        memory_available_bytes,
        load1_milli: next_load(),
        load5_milli: next_load(),
        load15_milli: next_load(),
        ..NodeUsage::default()
    }
}

/// User, nice, system, irq, softirq, steal of all CPUs since the machine started (proc(5), `/proc/stat`).
fn busy_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> =
        line.split_ascii_whitespace().skip(1).filter_map(|text| text.parse().ok()).collect();
    let busy: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|at| ticks.get(*at)).sum();
    // USER_HZ is 100 wherever Linux runs.
    busy * 10_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_something_of_everything() {
        let found = resources(Path::new("/"));
        for name in [CPUS, MEM, DISK] {
            assert!(!found.scalar(name).is_zero(), "{name}");
        }
        assert_eq!(found.ranges(PORTS).count(), 1001);
        let usage = usage();
        assert!(usage.cpu_ns > 0 && usage.memory_available_bytes <= usage.memory_total_bytes);
    }

    #[test]
    fn the_way_to_a_master_on_this_machine_is_the_loopback() {
        assert_eq!(address_towards("127.0.0.1:5050"), Some(crate::config::LOOPBACK));
        assert_eq!(hostname(crate::config::LOOPBACK), "localhost");
    }
}
