//! CORE: the registry as a value: everything that outlives a master, and what a change makes of it. Knows the objects' keys;
//! their bytes are `wire::registry`'s.

use super::change::{Change, Write};
use model::id::AgentId;
use model::maintenance::{MachineId, Machines};
use model::quantity::Quantity;
use model::role::Role;
use model::time::UnixTime;
use std::collections::BTreeMap;
use wire::WireError;
use wire::registry::{AgentRecord, QuotaRecord, Record, Standing, WithdrawalRecord};

/// What a master knows of the ones before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    pub agents: BTreeMap<AgentId, AgentRecord>,
    pub quotas: BTreeMap<Role, QuotaRecord>,
    pub weights: BTreeMap<Role, Quantity>,
    /// Those that are in the maintenance schedule.
    pub machines: Machines,
}

/// An object that cannot be understood: the registry is another version's, or the storage did not keep its word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("the object '{key}' cannot be read")]
    Record { key: String, source: WireError },
    #[error("the object '{key}' is none that this version knows, or not what its key says")]
    Key { key: String },
}

impl Registry {
    /// Reads what a storage holds.
    pub fn read<'a>(objects: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Self, ReadError> {
        let mut registry = Self::default();
        for (key, value) in objects {
            let record =
                Record::decode(value).map_err(|source| ReadError::Record { key: key.to_owned(), source })?;
            registry.take(key, record).ok_or_else(|| ReadError::Key { key: key.to_owned() })?;
        }
        Ok(registry)
    }

    fn take(&mut self, key: &str, record: Record) -> Option<()> {
        let (kind, id) = key.split_once('/').unwrap_or((key, ""));
        match (kind, record) {
            ("agent", Record::Agent(agent)) if !id.is_empty() => {
                self.agents.insert(AgentId::new(id), agent);
            }
            ("quota", Record::Quota(quota)) => _ = self.quotas.insert(Role::parse(id).ok()?, quota),
            ("weight", Record::Weight(weight)) => _ = self.weights.insert(Role::parse(id).ok()?, weight),
            ("machine", Record::Machine(machine)) => _ = self.machines.insert(machine_of(id)?, machine),
            _ => return None,
        }
        Some(())
    }

    /// Makes the change, and says what of it is to be kept; nothing where all is as it was.
    pub fn apply(&mut self, change: &Change) -> Vec<Write> {
        match change {
            Change::Quotas { quotas } => {
                let new = quotas.iter().filter(|(role, quota)| set(&mut self.quotas, role, quota.as_ref()));
                new.map(|(role, quota)| object(format!("quota/{role}"), quota.clone().map(Record::Quota)))
                    .collect()
            }
            Change::Weights { weights } => {
                let new =
                    weights.iter().filter(|(role, weight)| set(&mut self.weights, role, weight.as_ref()));
                new.map(|(role, weight)| object(format!("weight/{role}"), weight.map(Record::Weight)))
                    .collect()
            }
            Change::Machines { machines } => {
                let new = machines.iter().filter(|(id, it)| set(&mut self.machines, id, it.as_ref()));
                new.map(|(id, it)| object(machine_key(id), it.map(Record::Machine))).collect()
            }
            _ => self.apply_one(change).into_iter().collect(),
        }
    }

    fn apply_one(&mut self, change: &Change) -> Option<Write> {
        match change {
            Change::Admit { agent_id, info } => self.stand(agent_id, Standing::Admitted(info.clone())),
            Change::Unreachable { agent_id, since } => self.stand(agent_id, Standing::Unreachable(*since)),
            Change::Gone { agent_id, since } => self.gone(agent_id, *since),
            Change::Forget { agent_id } => {
                self.agents.remove(agent_id)?;
                Some(Write { key: agent_key(agent_id), value: None })
            }
            Change::Withdraw { agent_id, withdrawal } => {
                let agent = self.agents.get_mut(agent_id).filter(|agent| agent.withdrawal != *withdrawal)?;
                agent.withdrawal = *withdrawal;
                Some(kept(agent_key(agent_id), &Record::Agent(agent.clone())))
            }
            Change::Quotas { .. } | Change::Weights { .. } | Change::Machines { .. } => {
                unreachable!("several objects: see `apply`")
            }
        }
    }

    /// Whoever comes back, or is given up, stays as withdrawn as it was. Who is gone does neither.
    fn stand(&mut self, id: &AgentId, standing: Standing) -> Option<Write> {
        if self.is_gone(id) {
            return None;
        }
        let withdrawal = self.agents.get(id).map(|agent| agent.withdrawal).unwrap_or_default();
        self.put_agent(id, AgentRecord { standing, withdrawal })
    }

    /// Nothing else matters of an agent that is gone; and since when stays what it was.
    fn gone(&mut self, id: &AgentId, since: UnixTime) -> Option<Write> {
        if self.is_gone(id) {
            return None;
        }
        let withdrawal = WithdrawalRecord::default();
        self.put_agent(id, AgentRecord { standing: Standing::Gone(since), withdrawal })
    }

    fn is_gone(&self, id: &AgentId) -> bool {
        matches!(self.agents.get(id), Some(AgentRecord { standing: Standing::Gone(_), .. }))
    }

    fn put_agent(&mut self, id: &AgentId, agent: AgentRecord) -> Option<Write> {
        if self.agents.get(id) == Some(&agent) {
            return None;
        }
        self.agents.insert(id.clone(), agent.clone());
        Some(kept(agent_key(id), &Record::Agent(agent)))
    }
}

fn agent_key(id: &AgentId) -> Box<str> {
    format!("agent/{id}").into()
}

fn machine_key(id: &MachineId) -> String {
    let ip = id.ip().map(|ip| ip.to_string()).unwrap_or_default();
    format!("machine/{ip}/{}", id.hostname())
}

/// From what stands behind `machine/`. No address has a slash in it; a hostname may have what it likes.
fn machine_of(key: &str) -> Option<MachineId> {
    let (ip, hostname) = key.split_once('/')?;
    let ip = if ip.is_empty() { None } else { Some(ip.parse().ok()?) };
    Some(MachineId::new(hostname, ip))
}

fn kept(key: Box<str>, record: &Record) -> Write {
    Write { key, value: Some(record.encode()) }
}

fn object(key: String, record: Option<Record>) -> Write {
    Write { key: key.into(), value: record.map(|record| record.encode()) }
}

/// Whether it was anything else before.
fn set<K: Clone + Ord, V: Clone + PartialEq>(map: &mut BTreeMap<K, V>, key: &K, value: Option<&V>) -> bool {
    if map.get(key) == value {
        return false;
    }
    match value {
        Some(value) => _ = map.insert(key.clone(), value.clone()),
        None => _ = map.remove(key),
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::agent_info::AgentInfo;
    use model::body::Body;
    use model::maintenance::{Scheduled, Unavailability};
    use std::sync::Arc;

    fn info(port: u16) -> Arc<AgentInfo> {
        Arc::new(AgentInfo {
            hostname: "h".into(),
            address: ([127, 0, 0, 1], port).into(),
            total: "cpus:1".parse().expect("resources"),
            boot_id: "b".into(),
            version: "1".into(),
            body: Body::default(),
        })
    }

    #[test]
    fn what_is_withdrawn_stays_so_until_it_is_gone() {
        let mut registry = Registry::default();
        let agent_id = AgentId::new("a");
        let id = || agent_id.clone();
        let withdrawal = WithdrawalRecord { is_deactivated: true, drain: None };
        let writes = |registry: &mut Registry, change: Change| registry.apply(&change).len();
        let withdraw = || Change::Withdraw { agent_id: id(), withdrawal };
        let admit = |port| Change::Admit { agent_id: id(), info: info(port) };
        assert_eq!(writes(&mut registry, withdraw()), 0, "not known");
        assert_eq!(writes(&mut registry, admit(1)), 1, "new");
        assert_eq!(writes(&mut registry, admit(1)), 0, "as it was");
        assert_eq!(writes(&mut registry, withdraw()), 1);
        assert_eq!(writes(&mut registry, Change::Unreachable { agent_id: id(), since: UnixTime(5) }), 1);
        assert_eq!(writes(&mut registry, admit(2)), 1, "back");
        assert_eq!(registry.agents[&agent_id].withdrawal, withdrawal);
        assert_eq!(writes(&mut registry, Change::Gone { agent_id: id(), since: UnixTime(6) }), 1);
        assert_eq!(writes(&mut registry, Change::Gone { agent_id: id(), since: UnixTime(7) }), 0);
        assert_eq!(writes(&mut registry, admit(3)), 0, "it may not be back");
        let gone = &registry.agents[&agent_id];
        assert_eq!((&gone.standing, gone.withdrawal), (&Standing::Gone(UnixTime(6)), Default::default()));
        assert_eq!(writes(&mut registry, Change::Forget { agent_id: id() }), 1);
        assert_eq!(registry, Registry::default());
    }

    #[test]
    fn roles_that_change_together_are_an_object_each_and_only_where_they_change() {
        let mut registry = Registry::default();
        let role = |name: &str| Role::parse(name).expect("a role");
        let weights = |list: &[(&str, Option<u64>)]| Change::Weights {
            weights: list.iter().map(|(name, it)| (role(name), it.map(Quantity::from_units))).collect(),
        };
        let keys = |registry: &mut Registry, change: Change| {
            let writes = registry.apply(&change).into_iter();
            writes.map(|write| (write.key.to_string(), write.value.is_some())).collect::<Vec<_>>()
        };
        let both = keys(&mut registry, weights(&[("eng", Some(2)), ("ops", Some(3))]));
        assert_eq!(both, [("weight/eng".to_owned(), true), ("weight/ops".to_owned(), true)]);
        let one = keys(&mut registry, weights(&[("eng", Some(2)), ("ops", None)]));
        assert_eq!(one, [("weight/ops".to_owned(), false)]);
        let limits = BTreeMap::from([("cpus".into(), Quantity::from_units(1))]);
        let quota = QuotaRecord { limits, ..QuotaRecord::default() };
        let quotas = Change::Quotas { quotas: vec![(role("eng"), Some(quota.clone())), (role("ops"), None)] };
        assert_eq!(keys(&mut registry, quotas), [("quota/eng".to_owned(), true)]);
        assert_eq!(registry.quotas, BTreeMap::from([(role("eng"), quota)]));
    }

    #[test]
    fn a_machine_is_known_by_its_key() {
        let mut registry = Registry::default();
        let it = Scheduled {
            window: 0,
            place: 1,
            unavailability: Unavailability { start_ns: -5, duration_ns: None },
            is_down: true,
        };
        let ids = [("host", Some([10, 0, 0, 1].into())), ("a/b", None), ("", Some([0; 16].into()))];
        let ids = ids.map(|(hostname, ip)| MachineId::new(hostname, ip));
        let down = |it: Option<Scheduled>| Change::Machines {
            machines: ids.iter().map(|id| (id.clone(), it)).collect(),
        };
        let writes = registry.apply(&down(Some(it)));
        assert_eq!(writes.len(), 3);
        assert_eq!(registry.apply(&down(Some(it))), [], "as it was");
        let objects = writes.iter().map(|write| (&*write.key, write.value.as_deref().expect("kept")));
        assert_eq!(Registry::read(objects).as_ref(), Ok(&registry));
        assert!(registry.apply(&down(None)).iter().all(|write| write.value.is_none()));
        assert_eq!(registry, Registry::default());
    }

    #[test]
    fn a_key_and_its_object_must_agree() {
        let weight = Record::Weight(Quantity::from_units(1)).encode();
        assert!(Registry::read([("weight/eng", &weight[..])]).is_ok());
        for key in ["agent/a", "agent", "weight/a//b", "other", ""] {
            assert_eq!(
                Registry::read([(key, &weight[..])]),
                Err(ReadError::Key { key: key.to_owned() }),
                "{key}"
            );
        }
        assert!(matches!(Registry::read([("weight/eng", &b"x"[..])]), Err(ReadError::Record { .. })));
    }
}
