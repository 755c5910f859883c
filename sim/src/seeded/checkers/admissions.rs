//! An admitted agent is never forgotten: once an agent has been told its id, the registry knows that id, whatever dies,
//! until the agent has taken its leave; and no master that knows the registry turns it away.

use super::{Law, Verdict, breach};
use ingot_master::registrar::registry::Registry;
use model::id::AgentId;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(in crate::seeded) struct Admissions {
    /// Told to their agents.
    admitted: BTreeMap<AgentId, usize>,
    /// Agents that said goodbye, were told to go, or whose place another took.
    left: BTreeSet<AgentId>,
}

impl Admissions {
    /// An agent is told its id.
    pub(in crate::seeded) fn told(
        &mut self,
        machine: usize,
        id: &AgentId,
        registry: &BTreeMap<Box<str>, Vec<u8>>,
    ) -> Verdict {
        if self.admitted.insert(id.clone(), machine).is_some_and(|other| other != machine) {
            return breach(Law::NoAgentForgotten, format!("{id} was given to two agents"));
        }
        // Whoever the machine was before does not come back.
        let earlier = self.admitted.iter().filter(|(other, at)| **at == machine && *other != id);
        self.left.extend(earlier.map(|(id, _)| id.clone()));
        self.is_kept(id, registry)
    }

    pub(in crate::seeded) fn leaves(&mut self, id: &AgentId) {
        self.left.insert(id.clone());
    }

    pub(in crate::seeded) fn refused(&self, id: &AgentId, why: &str) -> Verdict {
        match self.admitted.contains_key(id) && !self.left.contains(id) {
            true => breach(Law::NoAgentForgotten, format!("{id} was admitted, and is refused: {why}")),
            false => Ok(()),
        }
    }

    /// The registry was written: everybody is there still.
    pub(in crate::seeded) fn written(&self, registry: &BTreeMap<Box<str>, Vec<u8>>) -> Verdict {
        let here = self.admitted.keys().filter(|id| !self.left.contains(*id));
        here.into_iter().try_for_each(|id| self.is_kept(id, registry))
    }

    /// A new leader has read it.
    pub(in crate::seeded) fn recovers(&self, registry: &Registry) -> Verdict {
        let mut here = self.admitted.keys().filter(|id| !self.left.contains(*id));
        match here.find(|id| !registry.agents.contains_key(*id)) {
            Some(id) => breach(
                Law::NoAgentForgotten,
                format!("{id} was admitted, and a new leader reads nothing of it"),
            ),
            None => Ok(()),
        }
    }

    fn is_kept(&self, id: &AgentId, registry: &BTreeMap<Box<str>, Vec<u8>>) -> Verdict {
        match registry.contains_key(format!("agent/{id}").as_str()) {
            true => Ok(()),
            false => breach(Law::NoAgentForgotten, format!("{id} was admitted, and is not in the registry")),
        }
    }
}
