//! What goes wrong during the storm, and is mended after a while, at the latest when the storm is over.

use super::network::Host;
use super::world::{Happening, Who, World};
use ingot_master::cluster::input::{Input, OperatorCall, Ticket};
use model::quantity::Quantity;
use model::quota::Quota;
use model::role::Role;

/// Something that lasts.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// Nothing passes on these ways.
    Blocked(Vec<(Host, Host)>),
    /// The process is stopped, in that life.
    Paused(usize, u64),
    NoQuorum,
}

impl World {
    pub(super) fn strike(&mut self) {
        if !self.is_stormy() {
            return;
        }
        self.outcome.faults += 1;
        let machine = self.rng.usize(..self.machines.len());
        match self.rng.u8(..32) {
            0..4 => {
                let scheduler = self.rng.usize(..self.schedulers.len());
                self.lose_scheduler(scheduler);
            }
            4..8 => self.kill_agent_somewhere(machine),
            8..13 => self.break_agents_link(machine),
            13 => self.reboot(machine),
            14..17 => {
                let ms = self.rng.u64(0..20_000);
                self.trace(|| format!("the disk of node-{machine} refuses for {ms} ms"));
                self.machines[machine].disk.refuses_until = self.now.time.plus_ms(ms);
            }
            17..24 => self.cut_off_somebody(machine),
            24..27 => self.kill_master_somewhere(),
            27..30 => self.pause_master(),
            _ => self.lose_quorum(),
        }
        let interval = self.plan.fault_interval_ms;
        self.soon(0, interval * 2, Happening::Strike);
    }

    /// Now, or in the middle of what it does next.
    fn kill_agent_somewhere(&mut self, at: usize) {
        match self.rng.u32(..12) {
            0..4 => self.kill_agent(at),
            count => _ = self.fuses.insert(Who::Agent(at), count - 4),
        }
    }

    fn kill_master_somewhere(&mut self) {
        let leader = self.masters.iter().position(|it| it.lead.is_some());
        let at = leader.unwrap_or_else(|| self.rng.usize(..self.masters.len()));
        match self.rng.u32(..24) {
            0..6 => self.kill_master(at),
            count => _ = self.fuses.insert(Who::Master(at), count - 6),
        }
    }

    fn break_agents_link(&mut self, at: usize) {
        self.checkers.tasks.harms(self.now.time, at);
        if let Some((_, Some(link))) = self.machines[at].link {
            self.trace(|| format!("node-{at} loses its link {link}"));
            self.break_link(link);
        }
    }

    /// Stopped for longer than a session lasts, or only a little.
    fn pause_master(&mut self) {
        let at = self.rng.usize(..self.masters.len());
        if !self.masters[at].is_up || self.masters[at].is_paused {
            return;
        }
        let most_ms = *self.rng.choice([500, 5_000, 30_000].iter()).expect("not empty");
        let ms = self.rng.u64(0..most_ms);
        self.trace(|| format!("master-{at} stands still for {ms} ms"));
        self.masters[at].is_paused = true;
        let fault = Fault::Paused(at, self.masters[at].life);
        self.soon(ms, ms, Happening::Repair(fault));
    }

    fn cut_off_somebody(&mut self, machine: usize) {
        let master = Host::Master(self.rng.usize(..self.masters.len()));
        let (one, other) = match self.rng.u8(..6) {
            0 => (Host::Scheduler(self.rng.usize(..self.schedulers.len())), master),
            1 => (Host::Agent(machine), Host::Zookeeper),
            2 => (master, Host::Zookeeper),
            _ => (Host::Agent(machine), master),
        };
        let ways = match self.rng.u8(..3) {
            0 => vec![(one, other)],
            1 => vec![(other, one)],
            _ => vec![(one, other), (other, one)],
        };
        let most_ms = *self.rng.choice([1_000, 20_000, 150_000].iter()).expect("not empty");
        let ms = self.rng.u64(0..most_ms);
        self.trace(|| format!("blocked for {ms} ms: {ways:?}"));
        self.harm(&ways);
        ways.iter().for_each(|(from, to)| self.block(*from, *to));
        self.soon(ms, ms, Happening::Repair(Fault::Blocked(ways)));
    }

    fn harm(&mut self, ways: &[(Host, Host)]) {
        for host in ways.iter().flat_map(|(from, to)| [from, to]) {
            if let Host::Agent(at) = host {
                self.checkers.tasks.harms(self.now.time, *at);
            }
        }
    }

    fn lose_quorum(&mut self) {
        if self.plan.masters == 1 || self.ensemble.has_no_quorum {
            return;
        }
        let ms = self.rng.u64(0..15_000);
        self.trace(|| format!("ZooKeeper has no quorum for {ms} ms"));
        self.ensemble.has_no_quorum = true;
        self.soon(ms, ms, Happening::Repair(Fault::NoQuorum));
    }

    pub(super) fn repair(&mut self, fault: &Fault) {
        match fault {
            Fault::Blocked(ways) => {
                self.trace(|| format!("free again: {ways:?}"));
                self.harm(ways);
                self.heal(ways);
            }
            Fault::Paused(at, life) => self.go_on(*at, *life),
            Fault::NoQuorum => {
                if self.ensemble.has_no_quorum {
                    self.trace(|| "ZooKeeper has a quorum again".into());
                    self.ensemble.recover(self.now.time);
                    self.watch_ensemble();
                }
            }
        }
    }

    /// A stopped process goes on, with everything that came meanwhile before it.
    fn go_on(&mut self, at: usize, life: u64) {
        let master = &mut self.masters[at];
        if master.life != life || !std::mem::replace(&mut master.is_paused, false) {
            return;
        }
        self.trace(|| format!("master-{at} goes on"));
        let inbox = std::mem::take(&mut self.masters[at].inbox);
        self.arm(Who::Master(at));
        inbox.into_iter().for_each(|happening| self.happens(happening));
    }

    pub(super) fn repair_everything(&mut self) {
        let ways: Vec<_> = self.blocked.iter().copied().collect();
        self.repair(&Fault::Blocked(ways));
        self.repair(&Fault::NoQuorum);
        for at in 0..self.masters.len() {
            self.repair(&Fault::Paused(at, self.masters[at].life));
        }
        self.fuses.clear();
        self.machines.iter_mut().for_each(|it| it.disk.refuses_until = self.now.time);
    }

    /// An operator sees to it that the role has its quota, as the leader of the moment knows.
    pub(super) fn set_quota(&mut self) {
        let Some(cpus) = self.plan.quota_cpus else { return };
        let cpus = if self.is_calm { None } else { Some(cpus) };
        let Some(at) = self.masters.iter().position(|it| it.lead.is_some() && !it.is_paused) else { return };
        let limits = cpus.map(|cpus| ("cpus".into(), Quantity::from_units(cpus)));
        let quota = Quota { limits: limits.into_iter().collect(), ..Quota::default() };
        self.next_number += 1;
        let ticket = Ticket(self.next_number);
        let role = Role::parse("role-0").expect("a role");
        let call = OperatorCall::UpdateQuota { quotas: vec![(role, quota)], is_forced: true };
        self.tell_master(at, Input::Operator { ticket, call });
    }

    pub(super) fn lift_quota(&mut self) {
        self.set_quota();
    }
}
