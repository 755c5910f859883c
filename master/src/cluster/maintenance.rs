//! Machines that operators plan to take away: the schedule, and what it means for the agents there. Semantics and texts are
//! Mesos' (src/master/http.cpp, maintenance.cpp; docs/maintenance.md).
//!
//! ```text
//!   up -- UPDATE_MAINTENANCE_SCHEDULE --> draining -- START_MAINTENANCE --> down -- STOP_MAINTENANCE --> up
//! ```
//! Offers of an agent on a machine that drains say when it will be away, and who has something there is asked for it
//! ([`super::inverse`]). Agents on a machine that is down are told to end, and may not register. The schedule is in the
//! registry before anybody is answered; a call is checked against what those before it will have made of it.

use super::agents::Removal;
use super::input::{OperatorCall, SessionId};
use super::note::Note;
use super::{Cluster, Turn};
use crate::allocator::event::Refusal as Release;
use crate::registrar::change::Change;
use api::refusal::Refusal;
use model::agent_info::AgentInfo;
use model::id::AgentId;
use model::maintenance::{Changed, MachineId, Machines, Scheduled, change, rescheduled};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::message::ToAgent;

/// Why agents are told to end, and their tasks are lost.
pub(super) const TAKEN_DOWN: &str = "Operator initiated 'Machine DOWN'";
const IS_DOWN: &str = "Machine is `DOWN`";

/// What is planned.
#[derive(Debug, Default)]
pub(super) struct Maintenance {
    machines: Arc<Machines>,
    /// Registered agents on machines that are in the schedule.
    agents: BTreeSet<AgentId>,
}

impl Maintenance {
    pub(super) fn machines(&self) -> &Arc<Machines> {
        &self.machines
    }

    pub(super) fn agents(&self) -> &BTreeSet<AgentId> {
        &self.agents
    }

    fn of(&self, info: &AgentInfo) -> Option<&Scheduled> {
        // Mostly nothing is planned, and nobody's name need be put together.
        if self.machines.is_empty() { None } else { self.machines.get(&MachineId::of(info)) }
    }
}

/// What a call makes of the schedule, or why nothing.
fn changed_by(call: &OperatorCall, machines: &Machines) -> Result<Vec<Changed>, Refusal> {
    let bad = |id: &MachineId, why: &str| Refusal::Bad(format!("Machine '{id}' {why}"));
    let planned = |id: &MachineId| {
        machines.get(id).ok_or_else(|| bad(id, "is not part of a maintenance schedule")).copied()
    };
    match call {
        OperatorCall::UpdateSchedule { windows } => {
            let changed = rescheduled(machines, windows);
            let leaves = |(id, new): &&Changed| new.is_none() && machines[id].is_down;
            match changed.iter().find(leaves) {
                Some((id, _)) => Err(bad(id, "is deactivated and cannot be removed from the schedule")),
                None => Ok(changed),
            }
        }
        OperatorCall::StartMaintenance { machines: ids } => {
            let down = |id: &MachineId| match planned(id)? {
                it if it.is_down => Err(bad(id, "is not in DRAINING mode and cannot be brought down")),
                it => Ok((id.clone(), Some(Scheduled { is_down: true, ..it }))),
            };
            ids.iter().map(down).collect()
        }
        OperatorCall::StopMaintenance { machines: ids } => {
            let up = |id: &MachineId| match planned(id)? {
                it if it.is_down => Ok((id.clone(), None)),
                _ => Err(bad(id, "is not in DOWN mode and cannot be brought up")),
            };
            ids.iter().map(up).collect()
        }
        _ => unreachable!("not about maintenance"),
    }
}

impl Cluster {
    /// Whether the call may be done. From here on it counts for those that come later.
    pub(super) fn promise_maintenance(&mut self, call: &OperatorCall) -> Result<Change, Refusal> {
        let machines = changed_by(call, &self.pending.machines)?;
        change(&mut self.pending.machines, &machines);
        Ok(Change::Machines { machines })
    }

    /// The registry has it.
    pub(super) fn maintain(&mut self, call: &OperatorCall, turn: &mut Turn<'_>) -> Result<(), Refusal> {
        let changed = changed_by(call, &self.maintenance.machines)?;
        self.change_machines(&changed, turn);
        Ok(())
    }

    /// As the masters before this one have left it. No agent is there yet.
    pub(super) fn take_over_machines(&mut self, machines: Machines) {
        self.pending.machines = machines.clone();
        self.maintenance.machines = Arc::new(machines);
    }

    fn change_machines(&mut self, changed: &[Changed], turn: &mut Turn<'_>) {
        change(Arc::make_mut(&mut self.maintenance.machines), changed);
        let changed: BTreeMap<_, _> = changed.iter().map(|(id, new)| (id, new.as_ref())).collect();
        for (machine, new) in &changed {
            let (machine, is_down) = ((*machine).clone(), new.map(|it| it.is_down));
            turn.note(Note::MachineScheduled { machine, is_down });
        }
        let meant = |info: &AgentInfo| changed.get(&MachineId::of(info)).copied();
        let here = self.agents.iter().filter_map(|(id, agent)| Some((id.clone(), meant(&agent.info)?)));
        for (id, new) in here.collect::<Vec<_>>() {
            if new.is_some_and(|it| it.is_down) {
                self.take_down(&id, turn);
            } else {
                self.place(&id, turn);
            }
        }
        let is_over = |info: &AgentInfo| meant(info).flatten().is_some_and(|it| it.is_down);
        let expected = self.expected.list().into_iter().filter(|(_, info)| is_over(info));
        for (id, _) in expected.collect::<Vec<_>>() {
            self.forget_expected(&id, TAKEN_DOWN, turn);
        }
    }

    /// Looks up whether the agent's machine is planned to be away. To be called when either may have changed: what was
    /// offered is taken back then, and asked for as it is now.
    pub(super) fn place(&mut self, id: &AgentId, turn: &mut Turn<'_>) {
        let Some(agent) = self.agents.get(id) else { return };
        let unavailability = self.maintenance.of(&agent.info).map(|it| it.unavailability);
        if agent.unavailability == unavailability {
            return;
        }
        let agent = self.agents.get_mut(id).expect("looked up above");
        agent.unavailability = unavailability;
        let offers: Vec<_> = agent.offers.keys().cloned().collect();
        match unavailability {
            Some(_) => _ = self.maintenance.agents.insert(id.clone()),
            None => _ = self.maintenance.agents.remove(id),
        }
        offers.iter().for_each(|offer| self.rescind(offer, Release::None, turn));
        self.forget_answers(id, turn);
        self.ask_later(id);
    }

    /// It is registered no more.
    pub(super) fn displace(&mut self, id: &AgentId) {
        self.maintenance.agents.remove(id);
    }

    fn take_down(&mut self, id: &AgentId, turn: &mut Turn<'_>) {
        if let Some(session) = self.agents.get(id).and_then(|agent| agent.session) {
            turn.agent(session, ToAgent::Refused { reason: TAKEN_DOWN.into() });
        }
        self.remove_agent(id, Removal::MachineDown, turn);
    }

    /// Whether the agent may not register, and is told so: its machine is down.
    pub(super) fn refuse_down(&self, info: &AgentInfo, session: SessionId, turn: &mut Turn<'_>) -> bool {
        if !self.maintenance.of(info).is_some_and(|it| it.is_down) {
            return false;
        }
        turn.note(Note::AgentRefused { session, why: IS_DOWN.into() });
        turn.agent(session, ToAgent::Refused { reason: IS_DOWN.into() });
        true
    }
}
