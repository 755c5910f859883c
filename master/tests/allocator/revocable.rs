//! What may be taken back, beside what may not: agents lend more, or less, at any time.

use crate::promises::{Cluster, whose};
use master::allocator::event::{Event, Refusal};
use model::framework::Capabilities;
use model::quantity::Quantity;
use model::quota::Quota;
use model::resources::{CPUS, Resources};
use model::role::Role;

fn total(own: &str, lent: &str) -> Resources {
    let mut total: Resources = own.parse().expect("resources");
    total.add(&lent.parse::<Resources>().expect("resources").revocable());
    total
}

/// CPUs that are the agent's own, and lent ones.
fn cpus(resources: &Resources) -> (u64, u64) {
    let sum = |is_revocable: bool| resources.filter(|part| part.is_revocable == is_revocable).scalar(CPUS);
    (sum(false).milli() / 1000, sum(true).milli() / 1000)
}

#[test]
fn what_an_agent_lends_is_offered_as_soon_as_it_says_so() {
    let mut cluster = Cluster::default();
    let (plain, _) = cluster.framework("*");
    let (agent, offers) = cluster.agent("cpus:4;mem:512");
    assert_eq!(whose(&offers), [plain]);
    let (thrifty, offers) = cluster.framework_that("*", Capabilities::REVOCABLE_RESOURCES);
    assert_eq!(offers, []);
    let update = |lent: &str| Event::UpdateAgent { agent, total: total("cpus:4;mem:512", lent) };
    let offers = cluster.tell(update("cpus:2"));
    assert_eq!((whose(&offers), cpus(&offers[0].resources)), (vec![thrifty], (0, 2)));
    let more = cluster.tell(update("cpus:3"));
    assert_eq!(cpus(&more[0].resources), (0, 1));
    // What is held beyond an estimate is owed, and nothing else is.
    assert_eq!(cluster.tell(update("cpus:1")), []);
    assert_eq!(cluster.release(&more[0], Refusal::None), []);
    let back = cluster.release(&offers[0], Refusal::None);
    assert_eq!(cpus(&back[0].resources), (0, 1));
    assert_eq!(cluster.tell(update("")), []);
    assert_eq!(cluster.release(&back[0], Refusal::None), []);
}

#[test]
fn limits_do_not_hold_what_is_lent_and_guarantees_are_not_met_by_it() {
    let quota = |role: &str, guarantee: &str, limit: &str| {
        let amounts = |text: &str| {
            let all: Resources = text.parse().expect("resources");
            all.iter().map(|part| (part.name.clone(), all.scalar(&part.name))).collect()
        };
        let quota = Quota { guarantees: amounts(guarantee), limits: amounts(limit) };
        Event::SetQuota { role: Role::parse(role).expect("a role"), quota }
    };
    let mut cluster = Cluster::default();
    cluster.tell(quota("eng", "", "cpus:1"));
    cluster.tell(quota("ops", "cpus:4", ""));
    let (thrifty, _) = cluster.framework_that("eng", Capabilities::REVOCABLE_RESOURCES);
    let (_, offers) = cluster.agent_with(total("cpus:4", "cpus:6"));
    assert_eq!(whose(&offers), [thrifty]);
    assert_eq!(
        cpus(&offers[0].resources),
        (0, 6),
        "all that is nobody's loan is kept for who is guaranteed it"
    );
    let (_, offers) = cluster.agent_with(total("cpus:2", "cpus:3"));
    assert_eq!(cpus(&offers[0].resources), (1, 3), "and the limit holds of the rest");
    let (ops, offers) = cluster.framework_that("ops", Capabilities::REVOCABLE_RESOURCES);
    assert_eq!(whose(&offers), [ops, ops]);
    assert_eq!(offers.iter().map(|offer| cpus(&offer.resources)).collect::<Vec<_>>(), [(4, 0), (1, 0)]);
}

/// As in Mesos ("the hierarchical allocator considers revocable resources as regular resources when doing fairness
/// calculations"): whoever has much on loan is asked later than who has nothing.
#[test]
fn shares_count_what_is_on_loan() {
    let mut cluster = Cluster::default();
    let (rich, _) = cluster.framework("*");
    assert_eq!(whose(&cluster.agent("mem:1000").1), [rich]);
    let (thrifty, _) = cluster.framework_that("*", Capabilities::REVOCABLE_RESOURCES);
    assert_eq!(whose(&cluster.agent_with(total("", "cpus:4")).1), [thrifty]);
    let (poor, _) = cluster.framework("*");
    assert_eq!(whose(&cluster.agent("mem:32").1), [poor]);
    // By what it has that is not on loan, `thrifty` would be first.
    let (_, offers) = cluster.agent("cpus:1");
    assert_eq!((whose(&offers), offers[0].resources.scalar(CPUS)), (vec![poor], Quantity::from_units(1)));
}
