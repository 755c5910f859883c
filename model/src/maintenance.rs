//! Planned maintenance: which machines are to be away, and when. Semantics are Mesos' (docs/maintenance.md): a machine in
//! the schedule *drains* until its operator takes it *down*, and is *up* again when it has left the schedule.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::agent_info::AgentInfo;

/// Where agents run. Both parts must be what the agent says of itself; a part that is left out matches none that has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MachineId {
    hostname: Arc<str>,
    ip: Option<IpAddr>,
}

impl MachineId {
    /// The case of a hostname means nothing.
    pub fn new(hostname: &str, ip: Option<IpAddr>) -> Self {
        Self { hostname: hostname.to_lowercase().into(), ip }
    }

    /// The machine that the agent runs on, by its own word.
    pub fn of(agent: &AgentInfo) -> Self {
        Self::new(&agent.hostname, Some(agent.address.ip()))
    }

    /// In lower case; empty where it was left out.
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    pub fn ip(&self) -> Option<IpAddr> {
        self.ip
    }
}

/// As Mesos' messages name machines: `{"hostname":"a","ip":"10.0.0.1"}`.
impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&*self.hostname, self.ip) {
            (hostname, None) => write!(f, "{{\"hostname\":{hostname:?}}}"),
            ("", Some(ip)) => write!(f, "{{\"ip\":\"{ip}\"}}"),
            (hostname, Some(ip)) => write!(f, "{{\"hostname\":{hostname:?},\"ip\":\"{ip}\"}}"),
        }
    }
}

/// When a machine is expected to be away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailability {
    /// Nanoseconds since 1970; negative is before.
    pub start_ns: i64,
    /// `None`: nobody knows for how long.
    pub duration_ns: Option<u64>,
}

/// Machines that are to be away at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    pub machines: Vec<MachineId>,
    pub unavailability: Unavailability,
}

/// One machine of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduled {
    /// Which window of the schedule it is in, and where there: so that the schedule is shown as it was set.
    pub window: u32,
    pub place: u32,
    pub unavailability: Unavailability,
    /// No agent there may register. Else it drains.
    pub is_down: bool,
}

/// The schedule, by machine: each is in it once.
pub type Machines = BTreeMap<MachineId, Scheduled>;

/// A machine as it is to stand in the schedule; without a place there it is up.
pub type Changed = (MachineId, Option<Scheduled>);

/// What changes when this becomes the schedule. Who is down stays so.
pub fn rescheduled(machines: &Machines, windows: &[Window]) -> Vec<Changed> {
    let mut new = Machines::new();
    for (window, it) in (0..).zip(windows) {
        for (place, id) in (0..).zip(&it.machines) {
            let is_down = machines.get(id).is_some_and(|known| known.is_down);
            let unavailability = it.unavailability;
            new.insert(id.clone(), Scheduled { window, place, unavailability, is_down });
        }
    }
    let left = machines.keys().filter(|id| !new.contains_key(id)).map(|id| (id.clone(), None));
    let mut changed: Vec<_> = left.collect();
    let is_new = |(id, it): &(MachineId, Scheduled)| machines.get(id) != Some(it);
    changed.extend(new.into_iter().filter(is_new).map(|(id, it)| (id, Some(it))));
    changed
}

/// Makes the changes.
pub fn change(machines: &mut Machines, changed: &[Changed]) {
    for (id, new) in changed {
        match new {
            Some(new) => _ = machines.insert(id.clone(), *new),
            None => _ = machines.remove(id),
        }
    }
}

/// The schedule as it was set, without the machines that have come up since.
pub fn windows(machines: &Machines) -> Vec<Window> {
    let mut order: Vec<_> = machines.iter().collect();
    order.sort_by_key(|(_, it)| (it.window, it.place));
    let mut windows: Vec<(u32, Window)> = Vec::new();
    for (id, it) in order {
        match windows.last_mut().filter(|(number, _)| *number == it.window) {
            Some((_, window)) => window.machines.push(id.clone()),
            None => {
                let window = Window { machines: vec![id.clone()], unavailability: it.unavailability };
                windows.push((it.window, window));
            }
        }
    }
    windows.into_iter().map(|(_, window)| window).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(name: &str) -> MachineId {
        MachineId::new(name, Some([10, 0, 0, 1].into()))
    }

    fn window(names: &[&str], start_ns: i64) -> Window {
        let unavailability = Unavailability { start_ns, duration_ns: Some(5) };
        Window { machines: names.iter().map(|name| machine(name)).collect(), unavailability }
    }

    #[test]
    fn a_schedule_is_shown_as_it_was_set() {
        let mut machines = Machines::new();
        let first = [window(&["c", "a"], 1), window(&["b"], 2)];
        let changed = rescheduled(&machines, &first);
        change(&mut machines, &changed);
        assert_eq!(windows(&machines), first);
        assert_eq!(rescheduled(&machines, &first), [], "as it was");
        // Who is down stays so; who is not named leaves.
        machines.get_mut(&machine("b")).expect("set above").is_down = true;
        let second = [window(&["B"], 7), window(&["d"], 1)];
        let changed = rescheduled(&machines, &second);
        assert_eq!(changed.iter().filter(|(_, new)| new.is_none()).count(), 2);
        change(&mut machines, &changed);
        assert_eq!(windows(&machines), [window(&["b"], 7), window(&["d"], 1)]);
        assert!(machines[&machine("b")].is_down && !machines[&machine("d")].is_down);
        change(&mut machines, &[(machine("b"), None)]);
        assert_eq!(windows(&machines), [window(&["d"], 1)], "an empty window is none");
    }

    #[test]
    fn a_machine_is_named_as_mesos_does() {
        assert_eq!(machine("Host").to_string(), r#"{"hostname":"host","ip":"10.0.0.1"}"#);
        assert_eq!(MachineId::new("h", None).to_string(), r#"{"hostname":"h"}"#);
        assert_eq!(MachineId::new("", Some([1, 2, 3, 4].into())).to_string(), r#"{"ip":"1.2.3.4"}"#);
        assert_ne!(machine("h"), MachineId::new("h", None), "a part that is left out matches no other");
    }
}
