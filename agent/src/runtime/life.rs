//! Violent ends, as the kernel's ring buffer reports them: whom the OOM killer chose and who died of a signal stands in the
//! log, with the container it happened in. How often is counted in the figures; this says who.

use crate::runtime::Agent;
use agent_ebpf::{Event, EventKind};
use std::rc::Rc;
use tokio::sync::mpsc;

/// Events between the draining thread and the runtime. A container that kills thousands at once fills it, and the log
/// is spared the rest; the ring buffer itself is drained all the same.
const WAITING_MAX: usize = 1024;

impl Agent {
    /// Nothing where the kernel reports no events.
    pub(super) fn watch_ends(self: &Rc<Self>) {
        let Some(events) = self.bpf.borrow_mut().take_events() else { return };
        let (sender, mut waiting) = mpsc::channel(WAITING_MAX);
        let drain = events.spawn(move |event| {
            if violence(&event).is_some() {
                // A full channel loses the event, as its limit says.
                _ = sender.try_send(event);
            }
        });
        let drain = match drain {
            Ok(drain) => drain,
            Err(error) => return tracing::warn!(%error, "ends of processes are not watched"),
        };
        let agent = self.clone();
        tokio::task::spawn_local(async move {
            while let Some(event) = waiting.recv().await {
                agent.tell_end(&event);
            }
            drop(drain);
        });
    }

    fn tell_end(&self, event: &Event) {
        let containers = self.containers.borrow();
        let is_its = |id: &std::cell::Cell<Option<u64>>| id.get() == Some(event.container);
        let container = containers.iter().find(|(_, it)| is_its(&it.cgroup_id)).map(|(id, _)| id.as_str());
        let (pid, command) = (event.pid, event.command.escape_ascii().to_string());
        let command = command.trim_end_matches("\\x00");
        match violence(event) {
            Some(Violence::Oom) => {
                tracing::warn!(pid, command, container, "the kernel's OOM killer chose a process");
            }
            Some(Violence::Signal(signal)) => {
                tracing::info!(pid, command, container, signal, "process was killed by a signal");
            }
            None => {}
        }
    }
}

/// An end that somebody may ask about later.
#[derive(Debug, PartialEq, Eq)]
enum Violence {
    Oom,
    Signal(u32),
}

fn violence(event: &Event) -> Option<Violence> {
    match event.kind()? {
        EventKind::Oom => Some(Violence::Oom),
        EventKind::Exit => event.signal().map(Violence::Signal),
        EventKind::Fork | EventKind::Exec => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_violent_ends_are_told() {
        let event = |kind: EventKind, status| Event { kind: kind as u32, status, ..Event::default() };
        assert_eq!(violence(&event(EventKind::Exit, 9)), Some(Violence::Signal(9)));
        assert_eq!(violence(&event(EventKind::Exit, 3 << 8)), None, "an exit code is its own affair");
        assert_eq!(violence(&event(EventKind::Oom, 0)), Some(Violence::Oom));
        assert_eq!(violence(&event(EventKind::Fork, 0)), None);
    }
}
