//! The usage report: built once by the agent ([`Builder`]), read in place by the master ([`Report`]).
//!
//! Figures travel as the master's table keeps them, so that reading them is one look at the message's frame and then a copy. Names
//! travel when they are new to the session; [`Builder`] numbers the arrangement of rows for that.

mod build;
mod rows;

pub use build::Builder;
pub use rows::{PART_ROWS, Part, Rows, Word, sources_of, word_of};

use crate::convert::{SliceReader, id, text};
use crate::error::WireError;
use crate::generated::agent_capnp::to_master;
use crate::generated::report_capnp::{member, usage_report};
use model::id::{ContainerId, ExecutorId, FrameworkId};
use model::time::UnixTime;
use model::usage::NodeUsage;

/// A report that lies in the receive buffer.
pub struct Report<'a> {
    message: SliceReader<'a>,
}

impl std::fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Report").finish_non_exhaustive()
    }
}

/// What a report says, lent from the receive buffer. Names are not checked before they are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    pub sequence: u64,
    pub timestamp: UnixTime,
    /// One row of [`NodeUsage`], or none where nothing is said of the node.
    pub node: Rows<'a>,
    /// `None`: nothing is said of running containers.
    pub running: Option<Running<'a>>,
    /// Whose the rows of `over_figures` are; as many.
    pub over: Members<'a>,
    pub over_figures: Rows<'a>,
}

/// The containers that run.
#[derive(Clone, Copy, Debug)]
pub struct Running<'a> {
    /// Number of the arrangement; never zero.
    pub layout: u64,
    /// Whose the rows are, where the report says so: as many as there are rows.
    pub members: Option<Members<'a>>,
    /// Rows of [`model::usage::Usage`].
    pub rows: Rows<'a>,
}

impl<'a> Report<'a> {
    /// `message` is a [`to_master`] whose union is a usage report.
    pub(crate) fn new(message: SliceReader<'a>) -> Self {
        Self { message }
    }

    /// Everything but names is checked here; nothing is copied or allocated.
    pub fn content(&self) -> Result<Content<'_>, WireError> {
        let root: usage_report::Reader<'_> =
            match self.message.get_root::<to_master::Reader<'_>>()?.which()? {
                to_master::Usage(report) => report?,
                _ => unreachable!("checked when the message was decoded"),
            };
        let running = match root.get_layout() {
            0 => None,
            layout => {
                let rows = Rows::new(root.get_containers()?)?;
                let members = if root.has_members() { Some(Members(root.get_members()?)) } else { None };
                if members.is_some_and(|members| members.len() != rows.len()) {
                    return Err(WireError::field("members", "are not as many as rows"));
                }
                Some(Running { layout, members, rows })
            }
        };
        let node = Rows::new(root.get_node()?)?;
        if node.len() > 1 {
            return Err(WireError::field("node", "has more than one row"));
        }
        let (over, over_figures) = (Members(root.get_over()?), Rows::new(root.get_over_figures()?)?);
        if over.len() != over_figures.len() {
            return Err(WireError::field("over", "are not as many as rows"));
        }
        let timestamp = UnixTime(root.get_timestamp_us());
        Ok(Content { sequence: root.get_sequence(), timestamp, node, running, over, over_figures })
    }
}

impl Content<'_> {
    /// The node's figures, where the agent tells them.
    pub fn node_usage(&self) -> Option<NodeUsage> {
        let (words, sources) = self.node.row(0)?;
        Some(NodeUsage::from_words(words, sources))
    }
}

/// Whose rows are.
#[derive(Clone, Copy)]
pub struct Members<'a>(capnp::struct_list::Reader<'a, member::Owned>);

impl std::fmt::Debug for Members<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Members({})", self.len())
    }
}

impl<'a> Members<'a> {
    pub fn len(&self) -> usize {
        self.0.len() as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Row by row; `None` is nobody's row.
    pub fn iter(&self) -> impl Iterator<Item = Result<Option<Member<'a>>, WireError>> + use<'a> {
        self.0.iter().map(|reader| {
            let container_id = text(reader.get_container_id(), "containerId")?;
            Ok((!container_id.is_empty()).then_some(Member { container_id, reader }))
        })
    }
}

/// Whose a row is, lent from the receive buffer.
#[derive(Clone, Copy)]
pub struct Member<'a> {
    container_id: &'a str,
    reader: member::Reader<'a>,
}

impl<'a> Member<'a> {
    /// Not checked for being an id.
    pub fn container_name(&self) -> &'a str {
        self.container_id
    }

    pub fn container_id(&self) -> Result<ContainerId, WireError> {
        id(self.reader.get_container_id(), "containerId")
    }

    pub fn framework_id(&self) -> Result<FrameworkId, WireError> {
        id(self.reader.get_framework_id(), "frameworkId")
    }

    pub fn executor_id(&self) -> Result<ExecutorId, WireError> {
        id(self.reader.get_executor_id(), "executorId")
    }

    /// Tasks that ran in it since the report before.
    pub fn tasks(&self) -> Result<impl Iterator<Item = Result<&'a str, WireError>> + use<'a>, WireError> {
        Ok(self.reader.get_tasks()?.iter().map(|task| text(task, "tasks")))
    }
}
