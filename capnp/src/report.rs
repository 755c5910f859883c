//! The usage report: built once by the agent, read in place by the master.
//!
//! Reading copies nothing but the numbers asked for: ids are lent from the receive buffer, and a line that nobody is
//! interested in is passed over at the price of a pointer.

use crate::convert::{SliceReader, list_len, text, write_message};
use crate::error::WireError;
use crate::frame::{FrameError, HEADER_BYTES, seal};
use crate::generated::agent_capnp::to_master;
use crate::generated::report_capnp::{Source as WireSource, container_usage, usage_report};
use model::time::UnixTime;
use model::usage::{ContainerUsage, Source, Usage};

/// What the whole node used and has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeUsage {
    /// Busy time of all CPUs since the node booted, nanoseconds.
    pub cpu_ns: u64,
    pub cpus_milli: u64,
    pub memory_total_bytes: u64,
    pub memory_available_bytes: u64,
    pub load1_milli: u64,
    pub load5_milli: u64,
    pub load15_milli: u64,
}

/// The frame of a report, ready to be written to the session.
pub fn build(
    sequence: u64,
    timestamp: UnixTime,
    node: &NodeUsage,
    containers: &[ContainerUsage],
) -> Result<Vec<u8>, FrameError> {
    let mut builder = capnp::message::Builder::new_default();
    let mut report = builder.init_root::<to_master::Builder<'_>>().init_usage();
    report.set_sequence(sequence);
    report.set_timestamp_us(timestamp.0);
    let mut to = report.reborrow().init_node();
    to.set_cpu_ns(node.cpu_ns);
    to.set_cpus_milli(node.cpus_milli);
    to.set_memory_total_bytes(node.memory_total_bytes);
    to.set_memory_available_bytes(node.memory_available_bytes);
    to.set_load1_milli(node.load1_milli);
    to.set_load5_milli(node.load5_milli);
    to.set_load15_milli(node.load15_milli);
    let mut lines = report.init_containers(list_len(containers.len()));
    for (i, line) in (0..).zip(containers) {
        write_line(line, lines.reborrow().get(i));
    }
    seal(write_message(&builder, HEADER_BYTES))
}

/// A report that lies in the receive buffer.
pub struct Report<'a> {
    message: SliceReader<'a>,
}

impl std::fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Report").finish_non_exhaustive()
    }
}

impl<'a> Report<'a> {
    /// `message` is a [`to_master`] whose union is a usage report.
    pub(crate) fn new(message: SliceReader<'a>) -> Self {
        Self { message }
    }

    fn root(&self) -> Result<usage_report::Reader<'_>, WireError> {
        match self.message.get_root::<to_master::Reader<'_>>()?.which()? {
            to_master::Usage(report) => Ok(report?),
            _ => unreachable!("checked when the message was decoded"),
        }
    }

    pub fn sequence(&self) -> Result<u64, WireError> {
        Ok(self.root()?.get_sequence())
    }

    pub fn timestamp(&self) -> Result<UnixTime, WireError> {
        Ok(UnixTime(self.root()?.get_timestamp_us()))
    }

    pub fn node(&self) -> Result<NodeUsage, WireError> {
        let node = self.root()?.get_node()?;
        Ok(NodeUsage {
            cpu_ns: node.get_cpu_ns(),
            cpus_milli: node.get_cpus_milli(),
            memory_total_bytes: node.get_memory_total_bytes(),
            memory_available_bytes: node.get_memory_available_bytes(),
            load1_milli: node.get_load1_milli(),
            load5_milli: node.get_load5_milli(),
            load15_milli: node.get_load15_milli(),
        })
    }

    /// Calls `see` with each container's line, in the agent's order.
    pub fn for_each(&self, mut see: impl FnMut(Line<'_>) -> Result<(), WireError>) -> Result<(), WireError> {
        self.root()?.get_containers()?.iter().try_for_each(|reader| see(Line { reader }))
    }
}

/// One container's line, lent from the receive buffer.
#[derive(Clone, Copy)]
pub struct Line<'a> {
    reader: container_usage::Reader<'a>,
}

impl<'a> Line<'a> {
    pub fn container_id(&self) -> Result<&'a str, WireError> {
        text(self.reader.get_container_id(), "containers.containerId")
    }

    pub fn framework_id(&self) -> Result<&'a str, WireError> {
        text(self.reader.get_framework_id(), "containers.frameworkId")
    }

    pub fn executor_id(&self) -> Result<&'a str, WireError> {
        text(self.reader.get_executor_id(), "containers.executorId")
    }

    /// Tasks that ran in it since the last report.
    pub fn tasks(&self) -> Result<impl Iterator<Item = Result<&'a str, WireError>> + use<'a>, WireError> {
        Ok(self.reader.get_tasks()?.iter().map(|task| text(task, "containers.tasks")))
    }

    pub fn is_final(&self) -> bool {
        self.reader.get_is_final()
    }

    /// The figures. A source from a newer version reads as none.
    pub fn usage(&self) -> Usage {
        let r = &self.reader;
        Usage {
            cpu_ns: r.get_cpu_ns(),
            cpu_user_ns: r.get_cpu_user_ns(),
            cpu_system_ns: r.get_cpu_system_ns(),
            switches_voluntary: r.get_switches_voluntary(),
            switches_involuntary: r.get_switches_involuntary(),
            throttled_periods: r.get_throttled_periods(),
            throttled_ns: r.get_throttled_ns(),
            memory_current_bytes: r.get_memory_current_bytes(),
            memory_peak_bytes: r.get_memory_peak_bytes(),
            memory_anon_bytes: r.get_memory_anon_bytes(),
            memory_file_bytes: r.get_memory_file_bytes(),
            oom_kills: r.get_oom_kills(),
            net_rx_bytes: r.get_net_rx_bytes(),
            net_rx_packets: r.get_net_rx_packets(),
            net_tx_bytes: r.get_net_tx_bytes(),
            net_tx_packets: r.get_net_tx_packets(),
            processes: r.get_processes(),
            threads: r.get_threads(),
            forks: r.get_forks(),
            exits: r.get_exits(),
            cpu_source: read_source(r.get_cpu_source()),
            memory_source: read_source(r.get_memory_source()),
            network_source: read_source(r.get_network_source()),
        }
    }
}

fn read_source(source: Result<WireSource, capnp::NotInSchema>) -> Source {
    match source {
        Ok(WireSource::Bpf) => Source::Bpf,
        Ok(WireSource::Cgroup) => Source::Cgroup,
        Ok(WireSource::Proc) => Source::Proc,
        Ok(WireSource::None) | Err(_) => Source::None,
    }
}

fn write_source(source: Source) -> WireSource {
    match source {
        Source::Bpf => WireSource::Bpf,
        Source::Cgroup => WireSource::Cgroup,
        Source::Proc => WireSource::Proc,
        Source::None => WireSource::None,
    }
}

fn write_line(line: &ContainerUsage, mut out: container_usage::Builder<'_>) {
    out.set_container_id(line.container_id.as_str());
    out.set_framework_id(line.framework_id.as_str());
    out.set_executor_id(line.executor_id.as_str());
    let mut tasks = out.reborrow().init_tasks(list_len(line.tasks.len()));
    for (i, task) in (0..).zip(&line.tasks) {
        tasks.set(i, task.as_str());
    }
    out.set_is_final(line.is_final);
    let u = &line.usage;
    out.set_cpu_ns(u.cpu_ns);
    out.set_cpu_user_ns(u.cpu_user_ns);
    out.set_cpu_system_ns(u.cpu_system_ns);
    out.set_switches_voluntary(u.switches_voluntary);
    out.set_switches_involuntary(u.switches_involuntary);
    out.set_throttled_periods(u.throttled_periods);
    out.set_throttled_ns(u.throttled_ns);
    out.set_memory_current_bytes(u.memory_current_bytes);
    out.set_memory_peak_bytes(u.memory_peak_bytes);
    out.set_memory_anon_bytes(u.memory_anon_bytes);
    out.set_memory_file_bytes(u.memory_file_bytes);
    out.set_oom_kills(u.oom_kills);
    out.set_net_rx_bytes(u.net_rx_bytes);
    out.set_net_rx_packets(u.net_rx_packets);
    out.set_net_tx_bytes(u.net_tx_bytes);
    out.set_net_tx_packets(u.net_tx_packets);
    out.set_processes(u.processes);
    out.set_threads(u.threads);
    out.set_forks(u.forks);
    out.set_exits(u.exits);
    out.set_cpu_source(write_source(u.cpu_source));
    out.set_memory_source(write_source(u.memory_source));
    out.set_network_source(write_source(u.network_source));
}
