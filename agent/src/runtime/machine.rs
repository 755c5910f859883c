//! What the machine is and has, found out at the start. What it uses, `sampler` reads.

use model::quantity::Quantity;
use model::resources::{CPUS, DISK, MEM, PORTS, Resource, Resources, Value};
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
    let memory = memory() / MIB;
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

/// Total memory, bytes.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB"));
    kilobytes.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
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
    }

    #[test]
    fn the_way_to_a_master_on_this_machine_is_the_loopback() {
        assert_eq!(address_towards("127.0.0.1:5050"), Some(crate::config::LOOPBACK));
        assert_eq!(hostname(crate::config::LOOPBACK), "localhost");
    }
}
