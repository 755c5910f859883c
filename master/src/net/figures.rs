//! Reports: their figures go into the usage table, straight from the receive buffer. The core hears only of containers
//! and nodes that appear, and of containers that are over.

use crate::cluster::input::{Input, SessionId};
use crate::driver::Post;
use crate::usage::{Block, Event, Writer};
use wire::WireError;
use wire::report::Report;

/// Writes down a report.
pub(super) fn record(
    session: SessionId,
    writer: &mut Writer,
    block: &mut Block,
    report: &Report<'_>,
    post: &Post,
) -> Result<(), WireError> {
    writer.record(block, report, &mut |event| {
        post.input(match event {
            Event::Appeared { framework_id, executor_id, container_id, row } => {
                Input::Container { session, framework_id, executor_id, container_id, row }
            }
            Event::Over { framework_id, executor_id, row } => {
                Input::ContainerOver { session, framework_id, executor_id, row }
            }
            Event::Node(row) => Input::Node { session, row },
        });
    })
}
