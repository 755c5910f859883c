//! What is deleted in one piece.

use crate::node::effect::Run;
use model::id::AgentId;
use std::path::PathBuf;

/// See the module's head. Ordered only to be kept in sets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// An executor's run: its sandbox and its checkpoint.
    Run { agent_id: AgentId, run: Run },
    /// A folder with everything in it.
    Tree(PathBuf),
    /// A folder of the work directory's tree in which there are no runs (any more).
    Branch(PathBuf),
}
