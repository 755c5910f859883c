//! The maintenance schedule. Texts are Mesos' (src/master/maintenance.cpp).

use std::collections::BTreeSet;

use model::maintenance::{MachineId, Unavailability, Window};

use crate::v1;
use crate::v1::maintenance::{self, Schedule};

/// No host's name is longer, bytes (RFC 1123); Mesos takes any.
const HOSTNAME_BYTES_MAX: usize = 255;

/// A schedule, each machine of it once. The error says what is wrong with it.
pub fn windows_from_v1(schedule: &Schedule) -> Result<Vec<Window>, String> {
    let mut seen = BTreeSet::new();
    let window = |it: &maintenance::Window| {
        if it.machine_ids.is_empty() {
            return Err("List of machines in the maintenance window is empty".to_owned());
        }
        let unavailability = read_unavailability(&it.unavailability)?;
        Ok(Window { machines: read_machines(&it.machine_ids, &mut seen)?, unavailability })
    };
    schedule.windows.iter().map(window).collect()
}

/// Machines to be taken down or up; at least one, and each once.
pub fn machines_from_v1(ids: &[v1::MachineId]) -> Result<Vec<MachineId>, String> {
    if ids.is_empty() {
        return Err("List of machines is empty".into());
    }
    read_machines(ids, &mut BTreeSet::new())
}

fn read_machines(ids: &[v1::MachineId], seen: &mut BTreeSet<MachineId>) -> Result<Vec<MachineId>, String> {
    let one = |id: &v1::MachineId| {
        let id = read_machine(id)?;
        if !seen.insert(id.clone()) {
            return Err(format!("Machine '{id}' appears more than once in the schedule"));
        }
        Ok(id)
    };
    ids.iter().map(one).collect()
}

fn read_machine(id: &v1::MachineId) -> Result<MachineId, String> {
    let (hostname, ip) = (id.hostname(), id.ip());
    if hostname.is_empty() && ip.is_empty() {
        return Err("Both 'hostname' and 'ip' for a machine are empty".into());
    }
    if hostname.len() > HOSTNAME_BYTES_MAX {
        return Err(format!("'hostname' of a machine is longer than {HOSTNAME_BYTES_MAX} bytes"));
    }
    let parsed = match ip {
        "" => None,
        ip => Some(ip.parse().map_err(|_| format!("Failed to parse the IP: {ip}"))?),
    };
    Ok(MachineId::new(hostname, parsed))
}

fn read_unavailability(it: &v1::Unavailability) -> Result<Unavailability, String> {
    let duration = it.duration.as_ref().map(|duration| u64::try_from(duration.nanoseconds));
    let duration_ns = duration.transpose().map_err(|_| "Unavailability 'duration' is negative".to_owned())?;
    Ok(Unavailability { start_ns: it.start.nanoseconds, duration_ns })
}

pub fn schedule(windows: Vec<Window>) -> Schedule {
    let window = |it: Window| maintenance::Window {
        machine_ids: it.machines.iter().map(machine).collect(),
        unavailability: unavailability(it.unavailability),
    };
    Schedule { windows: windows.into_iter().map(window).collect() }
}

pub fn machine(id: &MachineId) -> v1::MachineId {
    v1::MachineId {
        hostname: Some(id.hostname()).filter(|name| !name.is_empty()).map(str::to_owned),
        ip: id.ip().map(|ip| ip.to_string()),
    }
}

pub fn unavailability(it: Unavailability) -> v1::Unavailability {
    v1::Unavailability {
        start: v1::TimeInfo { nanoseconds: it.start_ns },
        duration: it.duration_ns.map(super::time::duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(hostname: &str, ip: &str) -> v1::MachineId {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        v1::MachineId { hostname: text(hostname), ip: text(ip) }
    }

    fn window(ids: &[v1::MachineId], duration_ns: Option<i64>) -> maintenance::Window {
        let duration = duration_ns.map(|nanoseconds| v1::DurationInfo { nanoseconds });
        let unavailability = v1::Unavailability { start: v1::TimeInfo { nanoseconds: -7 }, duration };
        maintenance::Window { machine_ids: ids.to_vec(), unavailability }
    }

    #[test]
    fn a_schedule_comes_back_as_it_went() {
        let ids = [id("a", "10.0.0.1"), id("b", ""), id("", "::1")];
        let sent = Schedule { windows: vec![window(&ids[..2], None), window(&ids[2..], Some(0))] };
        assert_eq!(windows_from_v1(&sent).map(schedule), Ok(sent));
        assert_eq!(windows_from_v1(&Schedule::default()), Ok(vec![]));
    }

    #[test]
    fn what_is_no_schedule_is_refused_in_mesos_words() {
        let a = || id("a", "10.0.0.1");
        for (windows, why) in [
            (vec![window(&[], None)], "List of machines in the maintenance window is empty"),
            (vec![window(&[a()], Some(-1))], "Unavailability 'duration' is negative"),
            (vec![window(&[id("", "")], None)], "Both 'hostname' and 'ip' for a machine are empty"),
            (vec![window(&[id("a", "10.0.0")], None)], "Failed to parse the IP: 10.0.0"),
            (
                vec![window(&[a()], None), window(&[id("A", "10.0.0.1")], None)],
                r#"Machine '{"hostname":"a","ip":"10.0.0.1"}' appears more than once in the schedule"#,
            ),
        ] {
            assert_eq!(windows_from_v1(&Schedule { windows }), Err(why.to_owned()));
        }
        assert_eq!(machines_from_v1(&[]), Err("List of machines is empty".into()));
        assert!(machines_from_v1(&[a(), a()]).is_err() && machines_from_v1(&[a()]).is_ok());
        assert!(machines_from_v1(&[id(&"x".repeat(256), "")]).is_err());
    }
}
