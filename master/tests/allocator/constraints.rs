//! Offer constraints and regions: which agents a framework is offered something of. In the histories that are compared, a role is
//! constrained to one rack or not at all.

use crate::promises::{Cluster, decline, whose};
use master::allocator::constraints::{
    Attribute, Constraint, Constraints, Description, Place, Predicate, RoleConstraints, Selector,
};
use master::allocator::core::Core;
use master::allocator::event::{Claims, Event};
use master::allocator::key::FrameworkKey;
use master::allocator::options::Options;
use model::framework::Capabilities;
use model::role::Role;
use std::sync::Arc;

/// Racks are numbers below this.
pub(crate) const RACKS: usize = 3;

const NAME: &str = "rack";

/// Agents on that rack, for that role.
pub(crate) fn only(role: &Role, rack: usize) -> Arc<Constraints> {
    let selector = Selector::Attribute(NAME.into());
    let predicate = Predicate::TextEquals(rack.to_string().into());
    let of_role = RoleConstraints([vec![Constraint { selector, predicate }]].into());
    Arc::new(Constraints { roles: [(role.clone(), of_role)].into(), ..Constraints::default() })
}

/// Which one that is, of what [`only`] makes.
pub(crate) fn only_rack(constraints: &Constraints, role: &Role) -> Option<usize> {
    match &constraints.roles.get(role)?.0[0][0].predicate {
        Predicate::TextEquals(rack) => Some(rack.parse().unwrap()),
        other => panic!("{other:?}"),
    }
}

/// An agent on that rack.
pub(crate) fn on(rack: usize) -> Arc<Description> {
    let attributes = vec![(NAME.into(), Attribute::Text(rack.to_string().into()))];
    Arc::new(Description { attributes, ..Description::default() })
}

/// Which one that is, of what [`on`] makes.
pub(crate) fn rack(of: &Description) -> Option<usize> {
    match &of.attributes[..] {
        [(_, Attribute::Text(rack))] => Some(rack.parse().unwrap()),
        other => panic!("{other:?}"),
    }
}

fn eng() -> Role {
    Role::parse("eng").unwrap()
}

fn claims(constraints: Option<Arc<Constraints>>) -> Claims {
    Claims { roles: vec![eng()], constraints, ..Claims::default() }
}

impl Cluster {
    fn choosy(&mut self, rack: usize) -> FrameworkKey {
        let framework = self.frameworks.take();
        let info = claims(Some(only(&eng(), rack)));
        assert_eq!(self.tell(Event::AddFramework { framework, info, is_active: true }), []);
        framework
    }

    /// What is offered of a new agent on that rack.
    fn racked(&mut self, rack: usize) -> Vec<master::allocator::event::Allocation> {
        let agent = self.agents.take();
        assert_eq!(self.tell(Event::DescribeAgent { agent, description: on(rack) }), []);
        let total = "cpus:4;mem:1024".parse().unwrap();
        self.tell(Event::AddAgent { agent, total, used: Vec::new() })
    }
}

#[test]
fn only_agents_that_meet_the_constraints_are_offered() {
    let mut cluster = Cluster::default();
    let choosy = cluster.choosy(1);
    assert_eq!(cluster.racked(0), []);
    assert_eq!(whose(&cluster.racked(1)), [choosy]);
    assert_eq!(cluster.agent("cpus:4;mem:1024").1, [], "it says nothing of a rack");
    let (easy, offers) = cluster.framework("ops");
    assert_eq!(whose(&offers), [easy, easy]);
    assert_eq!(whose(&cluster.racked(0)), [easy]);
}

#[test]
fn other_constraints_and_other_attributes_count_at_once() {
    let mut cluster = Cluster::default();
    let framework = cluster.choosy(1);
    assert_eq!((cluster.racked(0), cluster.racked(2)), (vec![], vec![]));
    let update = |constraints| Event::UpdateFramework { framework, info: claims(constraints) };
    let offers = cluster.tell(update(Some(only(&eng(), 2))));
    assert_eq!(offers.len(), 1);
    assert_eq!(cluster.release(&offers[0], decline(5000)), [], "what it declined it is not offered");
    assert_eq!(cluster.tell(update(None)).len(), 1, "of the other agent");
    assert_eq!(cluster.tell(update(Some(only(&eng(), 1)))), []);
    let moved = Event::DescribeAgent { agent: offers[0].agent, description: on(1) };
    assert_eq!(cluster.tell(moved), [], "it still refuses it");
    let offers = cluster.tell(Event::Revive { framework, roles: Vec::new() });
    assert_eq!(offers.len(), 1);
}

/// Who is barred is not in the way of who is not: neither in order, nor when a pass waits for everybody's turn.
#[test]
fn many_that_are_barred_keep_nobody_waiting() {
    let mut cluster = Cluster::default();
    let barred: Vec<_> = (0..200).map(|_| cluster.choosy(1)).collect();
    assert_eq!(cluster.racked(0), []);
    let (easy, offers) = cluster.framework("ops");
    assert_eq!(whose(&offers), [easy]);
    let held = offers[0].clone();
    for framework in &barred[..150] {
        assert_eq!(cluster.tell(Event::RemoveFramework { framework: *framework }), []);
    }
    // Ids of those that are gone are used again, by claimants that take anything.
    let (other, offers) = cluster.framework("qa");
    assert_eq!(offers, []);
    let offers = cluster.release(&held, decline(5000));
    assert_eq!(whose(&offers), [other]);
}

/// An agent in that region.
fn at(region: &str) -> Arc<Description> {
    let place = Some(Place { region: region.into(), zone: format!("{region}-1").into() });
    Arc::new(Description { place, ..Description::default() })
}

#[test]
fn agents_in_other_regions_are_for_frameworks_that_are_aware_of_them() {
    let region = Some("eu".into());
    let core = Core::new(Options { region, ..Options::default() });
    let mut cluster = Cluster { core, ..Cluster::default() };
    let (home, _) = cluster.framework("eng");
    let add = |cluster: &mut Cluster, region: &str| {
        let agent = cluster.agents.take();
        assert_eq!(cluster.tell(Event::DescribeAgent { agent, description: at(region) }), []);
        let total = "cpus:4;mem:1024".parse().unwrap();
        (agent, cluster.tell(Event::AddAgent { agent, total, used: Vec::new() }))
    };
    assert_eq!(whose(&add(&mut cluster, "eu").1), [home]);
    assert_eq!(whose(&cluster.agent("cpus:4;mem:1024").1), [home], "where it is not known, it is here");
    let (far, offers) = add(&mut cluster, "us");
    assert_eq!(offers, []);
    assert_eq!(cluster.framework("ops").1, []);
    let (aware, offers) = cluster.framework_that("qa", Capabilities::REGION_AWARE);
    assert_eq!((whose(&offers), offers[0].agent), (vec![aware], far));

    // It becomes aware, and is no more: what it is offered of agents elsewhere follows.
    let update = |capabilities| {
        let info = Claims { roles: vec![eng()], capabilities, ..Claims::default() };
        Event::UpdateFramework { framework: home, info }
    };
    assert_eq!(cluster.tell(update(Capabilities::REGION_AWARE)), []);
    assert_eq!(whose(&cluster.release(&offers[0], decline(5000))), [home]);
    assert_eq!(cluster.tell(update(Capabilities::default())), []);
    let (_, offers) = add(&mut cluster, "us");
    assert_eq!(whose(&offers), [aware]);
    let agent = offers[0].agent;
    assert_eq!(cluster.release(&offers[0], decline(5000)), []);
    assert_eq!(
        cluster.tell(Event::DescribeAgent { agent, description: at("eu") }).len(),
        1,
        "it has moved here"
    );
}

#[test]
fn masters_that_do_not_say_where_they_are_have_no_agents_elsewhere() {
    let mut cluster = Cluster::default();
    let (framework, _) = cluster.framework("eng");
    let agent = cluster.agents.take();
    assert_eq!(cluster.tell(Event::DescribeAgent { agent, description: at("us") }), []);
    let total = "cpus:4;mem:1024".parse().unwrap();
    let offers = cluster.tell(Event::AddAgent { agent, total, used: Vec::new() });
    assert_eq!(whose(&offers), [framework]);
}
