//! The usage report: built once by the agent, read in place by the master.
//!
//! Reading copies nothing but the numbers asked for: ids are lent from the receive buffer, and a line that nobody is
//! interested in is passed over at the price of a pointer.

use crate::convert::{SliceReader, list_len, text, write_message};
use crate::error::WireError;
use crate::frame::{FrameError, HEADER_BYTES, seal};
use crate::generated::agent_capnp::to_master;
use crate::generated::report_capnp::{container_usage, row, usage_report};
use model::time::UnixTime;
use model::usage::{ContainerUsage, NodeUsage, Source, Sources, Usage};

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
    write_row(&node.to_words(), node.sources, report.reborrow().init_node());
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
        let (words, sources) = read_row(self.root()?.get_node()?)?;
        Ok(NodeUsage::from_words(words, sources))
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
    pub fn usage(&self) -> Result<Usage, WireError> {
        let (words, sources) = read_row(self.reader.get_usage()?)?;
        Ok(Usage::from_words(words, sources))
    }
}

/// Bits that a source takes in a row's word of sources.
const SOURCE_BITS: usize = 3;

fn read_row<const WORDS: usize>(row: row::Reader<'_>) -> Result<([u64; WORDS], Sources), WireError> {
    let figures = row.get_figures()?;
    let mut words = [0; WORDS];
    for (word, figure) in words.iter_mut().zip(figures.iter()) {
        *word = figure;
    }
    let sources = row.get_sources();
    let source = |group| match sources >> (group * SOURCE_BITS) & ((1 << SOURCE_BITS) - 1) {
        1 => Source::Proc,
        2 => Source::Cgroup,
        3 => Source::Bpf,
        _ => Source::None,
    };
    Ok((words, Sources::from_array(std::array::from_fn(source))))
}

fn write_row(words: &[u64], sources: Sources, mut out: row::Builder<'_>) {
    let mut figures = out.reborrow().init_figures(list_len(words.len()));
    for (i, word) in (0..).zip(words) {
        figures.set(i, *word);
    }
    let number = |source| match source {
        Source::None => 0,
        Source::Proc => 1,
        Source::Cgroup => 2,
        Source::Bpf => 3,
    };
    let groups = sources.to_array().into_iter().enumerate();
    out.set_sources(groups.fold(0, |word, (group, source)| word | number(source) << (group * SOURCE_BITS)));
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
    write_row(&line.usage.to_words(), line.usage.sources, out.init_usage());
}
