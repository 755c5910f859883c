//! The network: links are TCP connections, each between an agent or a scheduler and a master. What is sent on one arrives
//! in order and whole, or the link breaks, and then each end learns of that in its own time, or never (half-open). A
//! direction between two hosts may be blocked: what is sent waits, as retransmissions do, until the way is free or the
//! sender gives up.

use super::master::stream_id;
use super::world::{Happening, World};
use ingot_master::cluster::effect::Event;
use ingot_master::cluster::input::{Input, SessionId};
use model::time::Time;
use std::collections::VecDeque;

/// A sender whose data is not acknowledged for this long takes the link for dead, milliseconds (`TCP_USER_TIMEOUT`).
const UNACKNOWLEDGED_MS_MAX: u64 = 60_000;
/// A call to connect that is not answered, milliseconds: what `agent::link` waits.
const CONNECT_MS_MAX: u64 = 5_000;

pub(super) type LinkId = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Host {
    Master(usize),
    Agent(usize),
    Scheduler(usize),
    Zookeeper,
}

/// The ends of a link: who dialled, and the master.
pub(super) const CLIENT: usize = 0;
pub(super) const MASTER: usize = 1;

#[derive(Debug)]
pub(super) enum Packet {
    /// Between agent and master.
    Frame(Vec<u8>),
    /// To a scheduler, on its stream.
    Event(Box<Event>),
    /// From a scheduler: its subscription, or a call.
    Post(Box<Input>),
    /// The other end is closed.
    Fin,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) hosts: [Host; 2],
    /// Which ends still have it; both, once it is up.
    pub(super) open: [bool; 2],
    pub(super) is_up: bool,
    /// When the last that was sent to that end arrives.
    arrives: [Time; 2],
    /// What waits for the way to that end to be free.
    stalled: [VecDeque<Packet>; 2],
}

impl World {
    pub(super) fn is_blocked(&self, from: Host, to: Host) -> bool {
        !self.blocked.is_empty() && self.blocked.contains(&(from, to))
    }

    /// Whether a request gets there and its answer back.
    pub(super) fn can_ask(&self, from: Host, to: Host) -> bool {
        !self.is_blocked(from, to) && !self.is_blocked(to, from)
    }

    /// Begins to connect. The client hears [`World::link_up`] or [`World::link_lost`].
    pub(super) fn dial(&mut self, client: Host, master: usize) -> LinkId {
        self.next_number += 1;
        let link = self.next_number;
        let hosts = [client, Host::Master(master)];
        let (arrives, stalled) = ([self.now.time; 2], [VecDeque::new(), VecDeque::new()]);
        self.links.insert(link, Link { hosts, open: [true, false], is_up: false, arrives, stalled });
        let [client, master] = hosts;
        if self.can_ask(client, master) {
            self.soon(1, 20, Happening::Connect(link));
        } else {
            self.soon(CONNECT_MS_MAX, CONNECT_MS_MAX, Happening::Connect(link));
        }
        link
    }

    pub(super) fn connect(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let [client, Host::Master(at)] = link.hosts else { unreachable!("links end at masters") };
        let takes = self.masters[at].is_up;
        if takes && self.can_ask(client, Host::Master(at)) {
            let link = self.links.get_mut(&id).expect("looked up above");
            link.open[MASTER] = true;
            link.is_up = true;
            self.link_up(id, client);
        } else {
            self.links.remove(&id);
            self.link_lost(id, client);
        }
    }

    pub(super) fn send(&mut self, id: LinkId, from: usize, packet: Packet) {
        let to = 1 - from;
        let delay_ns = self.rng.u64(20_000..2_000_000);
        let arrival = self.now.time.plus_ns(delay_ns);
        let Some(link) = self.links.get_mut(&id).filter(|link| link.open[from]) else { return };
        link.arrives[to] = link.arrives[to].max(arrival);
        let at = link.arrives[to];
        self.push(at, Happening::Arrive { link: id, to, packet });
    }

    pub(super) fn arrive(&mut self, id: LinkId, to: usize, packet: Packet) {
        let Some(link) = self.links.get(&id).filter(|link| link.open[to]) else { return };
        let is_blocked = self.is_blocked(link.hosts[1 - to], link.hosts[to]);
        let link = self.links.get_mut(&id).expect("looked up above");
        if is_blocked || !link.stalled[to].is_empty() {
            if link.stalled[to].is_empty() {
                let give_up = self.now.time.plus_ms(UNACKNOWLEDGED_MS_MAX);
                self.push(give_up, Happening::GiveUpSending { link: id, to });
            }
            let link = self.links.get_mut(&id).expect("looked up above");
            return link.stalled[to].push_back(packet);
        }
        self.deliver(id, to, packet);
    }

    fn deliver(&mut self, id: LinkId, to: usize, packet: Packet) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.open[to]) else { return };
        let (host, client) = (link.hosts[to], link.hosts[CLIENT]);
        if let Packet::Fin = packet {
            link.open[to] = false;
            self.forget_closed(id);
            return self.notices(id, host, client);
        }
        match (host, packet) {
            (Host::Master(at), packet) => self.master_hears(at, id, packet),
            (Host::Agent(at), Packet::Frame(frame)) => self.agent_hears(at, id, &frame),
            (Host::Scheduler(at), Packet::Event(event)) => self.scheduler_hears(at, id, *event),
            (host, packet) => unreachable!("{packet:?} to {host:?}"),
        }
    }

    /// A process closes its end, or dies. The other end learns of it after what was sent before, or a little earlier
    /// (a reset overtakes what is still being read).
    pub(super) fn close(&mut self, id: LinkId, end: usize) {
        let other = 1 - end;
        let is_reset = self.rng.u8(..3) == 0;
        let Some(link) = self.links.get_mut(&id).filter(|link| link.open[end]) else { return };
        if !link.is_up {
            self.links.remove(&id);
            return;
        }
        if is_reset {
            link.arrives[other] = self.now.time;
        }
        self.send(id, end, Packet::Fin);
        if let Some(link) = self.links.get_mut(&id) {
            link.open[end] = false;
        }
        self.forget_closed(id);
    }

    /// The link is dead, and neither end has been told: each notices when it does.
    pub(super) fn break_link(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.is_up) else { return };
        link.arrives = [self.now.time.plus_ms(3_600_000); 2];
        for end in [CLIENT, MASTER] {
            let most_ms = *self.rng.choice([10, 2_000, 90_000].iter()).expect("not empty");
            self.soon(0, most_ms, Happening::Broken { link: id, end });
        }
    }

    /// That end finds the link dead.
    pub(super) fn broken(&mut self, id: LinkId, end: usize) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.open[end]) else { return };
        link.open[end] = false;
        let (host, client) = (link.hosts[end], link.hosts[CLIENT]);
        self.forget_closed(id);
        if let Host::Agent(at) = client {
            self.checkers.tasks.harms(self.now.time, at);
        }
        self.notices(id, host, client);
    }

    /// The process at that end hears that the link is over.
    fn notices(&mut self, id: LinkId, host: Host, client: Host) {
        match (host, client) {
            (Host::Master(at), Host::Scheduler(_)) => {
                self.master_loses(at, Input::StreamGone { stream: stream_id(id) });
            }
            (Host::Master(at), _) => self.master_loses(at, Input::AgentGone { session: SessionId(id) }),
            (client, _) => self.link_lost(id, client),
        }
    }

    /// What was sent to that end has waited too long: the sender ends the link.
    pub(super) fn give_up_sending(&mut self, id: LinkId, to: usize) {
        let still = self.links.get(&id).is_some_and(|link| !link.stalled[to].is_empty());
        if still {
            self.broken(id, 1 - to);
            // The other end hears nothing of that, as long as the way is blocked.
            self.soon(60_000, 120_000, Happening::Broken { link: id, end: to });
        }
    }

    fn forget_closed(&mut self, id: LinkId) {
        if self.links.get(&id).is_some_and(|link| link.open == [false, false]) {
            self.links.remove(&id);
        }
    }

    pub(super) fn block(&mut self, from: Host, to: Host) {
        self.blocked.insert((from, to));
    }

    /// Every way is free again; what waited arrives, in its order.
    pub(super) fn heal(&mut self, ways: &[(Host, Host)]) {
        ways.iter().for_each(|way| _ = self.blocked.remove(way));
        let mut free = Vec::new();
        for (id, link) in &self.links {
            for to in [CLIENT, MASTER] {
                let way = (link.hosts[1 - to], link.hosts[to]);
                if !link.stalled[to].is_empty() && !self.blocked.contains(&way) {
                    free.push((*id, to));
                }
            }
        }
        // At once: what was sent later is still on its way.
        for (id, to) in free {
            let waiting = self.links.get_mut(&id).map(|link| std::mem::take(&mut link.stalled[to]));
            for packet in waiting.into_iter().flatten() {
                self.deliver(id, to, packet);
            }
        }
    }
}
