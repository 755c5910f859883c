//! A master's way to leading, and the proofs by which it goes on: what `leader::contender` and `master::leading` do over
//! ZooKeeper's protocol, with the same order, waits and lease.

use super::master::{Duty, Lead};
use super::network::Host;
use super::plan::Bug;
use super::storage::Way;
use super::world::{Happening, World};
use super::zookeeper::{Ensemble, Zxid};
use ingot_master::cluster::Cluster;
use ingot_master::cluster::input::Input;
use ingot_master::registrar::Registrar;
use model::time::Time;

/// Before ZooKeeper is asked again that has just refused, milliseconds.
const AGAIN_MS: u64 = 100;
/// Before a standby contends again, milliseconds.
const CONTEND_AGAIN_MS: u64 = 1_000;

impl World {
    /// Whether a request to the ensemble comes through.
    fn can_ask_zookeeper(&self, host: Host) -> bool {
        !self.ensemble.has_no_quorum && self.can_ask(host, Host::Zookeeper)
    }

    pub(super) fn master_soon(&mut self, at: usize, least_ms: u64, most_ms: u64, duty: Duty) {
        let life = self.masters[at].life;
        self.soon(least_ms, most_ms, Happening::Master { at, life, duty });
    }

    /// Its process begins: who is alone leads, the others queue up.
    pub(super) fn start_master(&mut self, at: usize) {
        let master = &mut self.masters[at];
        master.life += 1;
        (master.is_up, master.is_paused) = (true, false);
        self.trace(|| format!("master-{at} starts"));
        if self.plan.masters == 1 {
            let term = i64::try_from(self.masters[at].life).expect("few lives");
            self.masters[at].lease_until = Time(u64::MAX);
            self.master_soon(at, 0, 20, Duty::Lead(term));
        } else {
            self.master_soon(at, 0, 50, Duty::Join);
        }
    }

    pub(super) fn join(&mut self, at: usize) {
        if !self.can_ask_zookeeper(Host::Master(at)) {
            return self.master_soon(at, CONTEND_AGAIN_MS, CONTEND_AGAIN_MS, Duty::Join);
        }
        let (life, timeout_ms) = (self.masters[at].life, self.plan.session_timeout_ms);
        let znode = self.ensemble.join(self.now.time, at, life, timeout_ms);
        self.trace(|| format!("master-{at} contends with znode {znode}"));
        let lease = leader::lease::end_ns(self.now.time.0, timeout_ms * 1_000_000);
        self.masters[at].znode = Some(znode);
        self.masters[at].lease_until = Time(lease);
        self.watch_ensemble();
        self.master_soon(at, 1, 10, Duty::Look(znode));
        self.master_soon(at, timeout_ms / 3, timeout_ms / 3, Duty::Ping(znode));
        self.leader_may_have_changed();
    }

    /// The client library's own: a standby's session lives by it.
    pub(super) fn ping_zookeeper(&mut self, at: usize, znode: Zxid) {
        if self.masters[at].znode != Some(znode) {
            return;
        }
        if self.can_ask_zookeeper(Host::Master(at)) {
            let lag_ms = self.rng.u64(0..=Ensemble::half_tick_ms());
            if !self.ensemble.heard(self.now.time, znode, lag_ms) {
                return self.master_soon(at, 1, 10, Duty::Look(znode));
            }
            self.watch_ensemble();
        }
        let third = self.plan.session_timeout_ms / 3;
        self.master_soon(at, third, third, Duty::Ping(znode));
    }

    /// Who is before us? Asked once, and whenever something has changed.
    pub(super) fn look_who_leads(&mut self, at: usize, znode: Zxid) {
        let master = &self.masters[at];
        if master.lead.is_some() || master.is_taking_over || master.znode != Some(znode) {
            return;
        }
        if !self.can_ask_zookeeper(Host::Master(at)) {
            return self.master_soon(at, AGAIN_MS, AGAIN_MS, Duty::Look(znode));
        }
        if !self.ensemble.has(znode, self.masters[at].life) {
            self.trace(|| format!("master-{at} has lost its place {znode}"));
            self.masters[at].znode = None;
            return self.master_soon(at, CONTEND_AGAIN_MS, CONTEND_AGAIN_MS, Duty::Join);
        }
        if self.ensemble.first().is_some_and(|(first, _)| first == znode) {
            let asked = self.now.time;
            self.prove_lease(at, asked);
            self.masters[at].is_taking_over = true;
            self.master_soon(at, 1, 200, Duty::Lead(znode));
            self.master_soon(at, 1, 10, Duty::Prove(znode));
        }
    }

    fn prove_lease(&mut self, at: usize, asked: Time) {
        let end = leader::lease::end_ns(asked.0, self.plan.session_timeout_ms * 1_000_000);
        let lease = &mut self.masters[at].lease_until;
        *lease = (*lease).max(Time(end));
    }

    /// Asks whether the session lives. The answer counts from the question.
    pub(super) fn prove(&mut self, at: usize, znode: Zxid) {
        if self.now.time >= self.masters[at].lease_until && self.plan.bug != Some(Bug::LeaseIgnored) {
            return self.exit_master(at, "ZooKeeper has not been heard of for too long");
        }
        if !self.can_ask_zookeeper(Host::Master(at)) || self.is_stormy() && self.rng.u8(..50) == 0 {
            return self.master_soon(at, AGAIN_MS, AGAIN_MS, Duty::Prove(znode));
        }
        let lag_ms = self.rng.u64(0..=Ensemble::half_tick_ms());
        if self.ensemble.heard(self.now.time, znode, lag_ms) {
            self.watch_ensemble();
            let asked = self.now.time;
            self.master_soon(at, 1, 20, Duty::Proved { znode, asked });
        } else {
            self.exit_master(at, "the znode is gone");
        }
    }

    pub(super) fn proved(&mut self, at: usize, znode: Zxid, asked: Time) {
        self.prove_lease(at, asked);
        let tenth = self.plan.session_timeout_ms / 10;
        self.master_soon(at, tenth, tenth, Duty::Prove(znode));
    }

    /// Reads the registry and begins to act.
    pub(super) fn lead(&mut self, at: usize, term: i64) {
        if self.plan.masters > 1 && !self.can_ask_zookeeper(Host::Master(at)) {
            // Reading waits; its lease does not.
            return self.master_soon(at, AGAIN_MS, AGAIN_MS, Duty::Lead(term));
        }
        let way = Way { shelf: self.shelf.clone(), term };
        let registrar = match Registrar::open(Box::new(way)) {
            Ok(registrar) => registrar,
            Err(failure) => {
                self.trace(|| format!("master-{at}: {failure}"));
                return self.exit_master(at, "it cannot read the registry");
            }
        };
        self.outcome.elections += 1;
        self.trace(|| format!("master-{at} leads, term {term}"));
        let registry = registrar.registry().clone();
        let (_, usage) = ingot_master::usage::table();
        let info = super::master::info(at, self.masters[at].life, self.now.unix);
        let cluster = Cluster::new(self.master_settings(), info, usage);
        self.masters[at].is_taking_over = false;
        self.masters[at].lead = Some(Box::new(Lead::new(term, cluster, registrar)));
        let verdict = self.checkers.admissions.recovers(&registry);
        self.judge(verdict);
        self.tell_master(at, Input::Recovered(Box::new(registry)));
        self.soon(0, 3_000, Happening::Operator);
    }

    /// Some session has begun or was heard of: its end is to be looked at in time.
    pub(super) fn watch_ensemble(&mut self) {
        if let Some(at) = self.ensemble.deadline()
            && self.ensemble_due.is_none_or(|due| due > at)
        {
            self.ensemble_due = Some(at);
            self.push(at, Happening::Sessions);
        }
    }

    /// Ends sessions whose time is over.
    pub(super) fn sessions(&mut self) {
        self.ensemble_due = None;
        let gone = self.ensemble.expire(self.now.time);
        if !gone.is_empty() {
            self.trace(|| format!("ZooKeeper ends sessions of znodes {gone:?}"));
            self.leader_may_have_changed();
        }
        self.watch_ensemble();
    }

    /// Watches fire: at the next contenders, and at everybody who wants to know who leads.
    pub(super) fn leader_may_have_changed(&mut self) {
        for at in 0..self.masters.len() {
            if let (true, Some(znode)) = (self.masters[at].is_up, self.masters[at].znode) {
                self.master_soon(at, 1, 50, Duty::Look(znode));
            }
        }
        for at in 0..self.machines.len() {
            self.soon(1, 100, Happening::Detect(at));
        }
    }

    /// Who leads, as that host can find out now; `None`: nobody, or it cannot be asked.
    pub(super) fn leader_as_seen_by(&self, host: Host) -> Option<Option<usize>> {
        if self.plan.masters == 1 {
            return Some(Some(0));
        }
        self.can_ask_zookeeper(host).then(|| self.ensemble.first().map(|(_, master)| master))
    }
}
