//! Reports: their figures go into rows of the usage table, straight from the receive buffer. The core hears only of
//! containers that come and go.

use crate::cluster::input::{Input, SessionId};
use crate::driver::Post;
use crate::usage::{Figures, Row, Writer};
use model::id::{ContainerId, ExecutorId, FrameworkId};
use std::collections::BTreeMap;
use wire::WireError;
use wire::report::{Line, Report};

/// The table's writing end, and which session writes which row. A row that the core has forgotten, because nobody shows
/// it, must not be written by its session any more: it may be another's already.
pub(super) struct Book {
    writer: Writer,
    owners: BTreeMap<Row, SessionId>,
}

impl Book {
    pub(super) fn new(writer: Writer) -> Self {
        Self { writer, owners: BTreeMap::new() }
    }

    /// Writes down a report. `containers` are the session's own, by container id.
    pub(super) fn record(
        &mut self,
        session: SessionId,
        containers: &mut BTreeMap<String, Row>,
        report: &Report<'_>,
        post: &Post,
    ) -> Result<(), WireError> {
        report.for_each(|line| {
            let container_id = line.container_id()?;
            let row = match containers.get(container_id) {
                Some(row) => *row,
                None => {
                    // A table that is full, of millions, has no place for a newcomer's figures; all else goes on.
                    let Some(row) = self.writer.allocate() else { return Ok(()) };
                    self.owners.insert(row, session);
                    containers.insert(container_id.to_owned(), row);
                    post.input(appeared(session, &line, row)?);
                    row
                }
            };
            let is_final = line.is_final();
            self.writer.write(row, &Figures { usage: line.usage()?, is_final });
            if is_final {
                containers.remove(container_id);
                self.owners.remove(&row);
                let framework_id = FrameworkId::new(line.framework_id()?);
                let executor_id = ExecutorId::new(line.executor_id()?);
                post.input(Input::ContainerOver { session, framework_id, executor_id, row });
            }
            Ok(())
        })
    }

    /// The core shows the row no more. Returns the session that still writes it, and must stop.
    pub(super) fn release(&mut self, row: Row) -> Option<SessionId> {
        self.writer.release(row);
        self.owners.remove(&row)
    }

    /// The session has ended: its rows are written no more. The core says when they are free.
    pub(super) fn session_ended(&mut self, rows: impl Iterator<Item = Row>) {
        for row in rows {
            self.owners.remove(&row);
        }
    }
}

fn appeared(session: SessionId, line: &Line<'_>, row: Row) -> Result<Input, WireError> {
    Ok(Input::Container {
        session,
        framework_id: FrameworkId::new(line.framework_id()?),
        executor_id: ExecutorId::new(line.executor_id()?),
        container_id: ContainerId::new(line.container_id()?),
        row,
    })
}
