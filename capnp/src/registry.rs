//! What a master writes down for the master after it: one object of the registry is one message.
//!
//! Every record begins with the version that wrote it. A newer version reads older records; an older one refuses newer.

use crate::convert::{arc, info, list_len, read_slice, write_message};
use crate::error::WireError;
use crate::generated::registry_capnp::{agent, amount, drain, machine, quota, record};
use capnp::struct_list;
use model::agent_info::AgentInfo;
use model::maintenance::{Scheduled, Unavailability};
use model::quantity::Quantity;
use model::time::UnixTime;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The version that is written.
pub const VERSION: u16 = 1;

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    Agent(AgentRecord),
    Quota(QuotaRecord),
    Weight(Quantity),
    /// A machine of the maintenance schedule.
    Machine(Scheduled),
}

/// What is known of one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRecord {
    pub standing: Standing,
    pub withdrawal: WithdrawalRecord,
}

/// Where an agent stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is to be expected by the next master.
    Admitted(Arc<AgentInfo>),
    /// It was given up then, and may come back.
    Unreachable(UnixTime),
    /// An operator said then that it will not come back; it may not.
    Gone(UnixTime),
}

/// Whether an operator has taken it out of use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WithdrawalRecord {
    pub is_deactivated: bool,
    pub drain: Option<DrainRecord>,
}

/// How far an agent is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainRecord {
    pub is_drained: bool,
    pub max_grace_ns: Option<u64>,
    pub marks_gone: bool,
    pub started: Option<UnixTime>,
}

/// What a role is guaranteed, and may have at most; by the name of the resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuotaRecord {
    pub guarantees: BTreeMap<Arc<str>, Quantity>,
    pub limits: BTreeMap<Arc<str>, Quantity>,
}

impl Record {
    pub fn encode(&self) -> Vec<u8> {
        let mut builder = capnp::message::Builder::new_default();
        let mut out = builder.init_root::<record::Builder<'_>>();
        out.set_version(VERSION);
        match self {
            Self::Agent(it) => write_agent(it, out.init_agent()),
            Self::Quota(it) => {
                let mut quota = out.init_quota();
                let (guarantees, limits) = (list_len(it.guarantees.len()), list_len(it.limits.len()));
                write_amounts(&it.guarantees, quota.reborrow().init_guarantees(guarantees));
                write_amounts(&it.limits, quota.init_limits(limits));
            }
            Self::Weight(weight) => out.set_weight(weight.milli()),
            Self::Machine(it) => write_machine(it, out.init_machine()),
        }
        write_message(&builder, 0)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let reader = read_slice(bytes)?;
        let it: record::Reader<'_> = reader.get_root()?;
        if it.get_version() > VERSION {
            return Err(WireError::Version { found: it.get_version(), known: VERSION });
        }
        Ok(match it.which()? {
            record::Agent(it) => Self::Agent(read_agent(it?)?),
            record::Quota(it) => Self::Quota(read_quota(it?)?),
            record::Weight(milli) => Self::Weight(quantity(milli, "weight")?),
            record::Machine(it) => Self::Machine(read_machine(it?)),
        })
    }
}

fn write_agent(it: &AgentRecord, mut out: agent::Builder<'_>) {
    out.set_is_deactivated(it.withdrawal.is_deactivated);
    if let Some(it) = it.withdrawal.drain {
        let mut drain: drain::Builder<'_> = out.reborrow().init_drain();
        drain.set_is_drained(it.is_drained);
        drain.set_marks_gone(it.marks_gone);
        drain.set_has_grace(it.max_grace_ns.is_some());
        drain.set_max_grace_ns(it.max_grace_ns.unwrap_or(0));
        drain.set_started(it.started.map_or(0, |at| at.0));
    }
    match &it.standing {
        Standing::Admitted(it) => info::write_agent(it, out.init_admitted()),
        Standing::Unreachable(since) => out.set_unreachable(since.0),
        Standing::Gone(since) => out.set_gone(since.0),
    }
}

fn read_agent(it: agent::Reader<'_>) -> Result<AgentRecord, WireError> {
    let standing = match it.which()? {
        agent::Admitted(it) => Standing::Admitted(Arc::new(info::read_agent(it?)?)),
        agent::Unreachable(since) => Standing::Unreachable(UnixTime(since)),
        agent::Gone(since) => Standing::Gone(UnixTime(since)),
    };
    let drain = if it.has_drain() { Some(read_drain(it.get_drain()?)) } else { None };
    let withdrawal = WithdrawalRecord { is_deactivated: it.get_is_deactivated(), drain };
    Ok(AgentRecord { standing, withdrawal })
}

fn read_drain(it: drain::Reader<'_>) -> DrainRecord {
    DrainRecord {
        is_drained: it.get_is_drained(),
        max_grace_ns: it.get_has_grace().then_some(it.get_max_grace_ns()),
        marks_gone: it.get_marks_gone(),
        started: Some(UnixTime(it.get_started())).filter(|at| at.0 > 0),
    }
}

fn read_quota(it: quota::Reader<'_>) -> Result<QuotaRecord, WireError> {
    let guarantees = read_amounts(it.get_guarantees()?)?;
    Ok(QuotaRecord { guarantees, limits: read_amounts(it.get_limits()?)? })
}

fn write_machine(it: &Scheduled, mut out: machine::Builder<'_>) {
    out.set_window(it.window);
    out.set_place(it.place);
    out.set_start_ns(it.unavailability.start_ns);
    out.set_has_duration(it.unavailability.duration_ns.is_some());
    out.set_duration_ns(it.unavailability.duration_ns.unwrap_or(0));
    out.set_is_down(it.is_down);
}

fn read_machine(it: machine::Reader<'_>) -> Scheduled {
    let duration_ns = it.get_has_duration().then_some(it.get_duration_ns());
    Scheduled {
        window: it.get_window(),
        place: it.get_place(),
        unavailability: Unavailability { start_ns: it.get_start_ns(), duration_ns },
        is_down: it.get_is_down(),
    }
}

fn write_amounts(amounts: &BTreeMap<Arc<str>, Quantity>, mut out: struct_list::Builder<'_, amount::Owned>) {
    for (i, (name, amount)) in (0..).zip(amounts) {
        let mut place = out.reborrow().get(i);
        place.set_name(name);
        place.set_milli(amount.milli());
    }
}

fn read_amounts(
    list: struct_list::Reader<'_, amount::Owned>,
) -> Result<BTreeMap<Arc<str>, Quantity>, WireError> {
    let one = |it: amount::Reader<'_>| {
        Ok((arc(it.get_name(), "amount.name")?, quantity(it.get_milli(), "amount.milli")?))
    };
    list.iter().map(one).collect()
}

fn quantity(milli: u64, field: &'static str) -> Result<Quantity, WireError> {
    if milli > Quantity::MILLI_MAX {
        return Err(WireError::field(field, "is larger than any amount"));
    }
    Ok(Quantity::from_milli(milli))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::body::Body;

    fn agents() -> Vec<Record> {
        let info = AgentInfo {
            hostname: "host".into(),
            address: ([127, 0, 0, 1], 5051).into(),
            total: "cpus:4;mem:1024;ports:[1-9]".parse().expect("resources"),
            boot_id: "boot".into(),
            version: "1.11.0".into(),
            body: Body::new(&b"all of it"[..]),
        };
        let standings = [
            Standing::Admitted(Arc::new(info)),
            Standing::Unreachable(UnixTime(7)),
            Standing::Gone(UnixTime(u64::MAX)),
        ];
        let drain = |max_grace_ns, started| {
            Some(DrainRecord { is_drained: true, max_grace_ns, marks_gone: false, started })
        };
        let drains = [None, drain(None, None), drain(Some(0), Some(UnixTime(9)))];
        let pairs = standings.iter().flat_map(|standing| drains.iter().map(move |drain| (standing, drain)));
        let record = |(standing, drain): (&Standing, &Option<DrainRecord>)| {
            let withdrawal = WithdrawalRecord { is_deactivated: drain.is_some(), drain: *drain };
            Record::Agent(AgentRecord { standing: standing.clone(), withdrawal })
        };
        pairs.map(record).collect()
    }

    fn machine(start_ns: i64, duration_ns: Option<u64>) -> Scheduled {
        let unavailability = Unavailability { start_ns, duration_ns };
        Scheduled { window: 1, place: u32::MAX, unavailability, is_down: duration_ns.is_some() }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let amounts = |names: &[&str]| {
            names.iter().map(|name| (Arc::from(*name), Quantity::from_units(3))).collect::<BTreeMap<_, _>>()
        };
        let quota = QuotaRecord { guarantees: amounts(&["cpus"]), limits: amounts(&["cpus", "mem"]) };
        let others = [
            Record::Quota(quota),
            Record::Weight(Quantity::from_milli(1500)),
            Record::Machine(machine(-1, None)),
            Record::Machine(machine(i64::MAX, Some(0))),
        ];
        for record in agents().into_iter().chain(others) {
            assert_eq!(Record::decode(&record.encode()), Ok(record));
        }
    }

    #[test]
    fn what_is_damaged_is_an_error_and_never_a_panic() {
        for record in agents() {
            let bytes = record.encode();
            for cut in 0..bytes.len() {
                // Shorter is refused, or holds the same: the end may be padding.
                let read = Record::decode(&bytes[..cut]);
                assert!(read.is_err() || read == Ok(record.clone()), "cut at {cut}");
            }
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= 0xff;
                drop(Record::decode(&changed));
            }
        }
    }
}
