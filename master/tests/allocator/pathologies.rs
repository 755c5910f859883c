//! Frameworks that would keep others from resources, each kind that clusters have met: none starves, none hoards.

use crate::promises::{Cluster, decline, whose};
use master::allocator::core::Core;
use master::allocator::event::{Allocation, Claims, Event, Refusal};
use master::allocator::key::FrameworkKey;
use master::allocator::options::Options;
use model::resources::{CPUS, MEM, Resources};
use model::role::Role;
use model::time::Time;
use std::collections::BTreeSet;

const HOUR_MS: u64 = 3_600_000;

fn sliced(slice: &str) -> Cluster {
    let options = Options { slice: Some(slice.parse().unwrap()), ..Options::default() };
    Cluster { core: Core::new(options), ..Cluster::default() }
}

fn of(offers: &[Allocation], framework: FrameworkKey) -> impl Iterator<Item = &Allocation> {
    offers.iter().filter(move |offer| offer.framework == framework)
}

fn cpus(offers: &[Allocation]) -> u64 {
    offers.iter().map(|offer| offer.resources.scalar(CPUS).milli() / 1000).sum()
}

fn plain(text: &str) -> Resources {
    text.parse::<Resources>().unwrap().allocated_to(&Role::star())
}

/// What the framework holds in the end, when all others decline what they are offered.
fn all_declined_but(
    cluster: &mut Cluster,
    mut offers: Vec<Allocation>,
    framework: FrameworkKey,
) -> Vec<Allocation> {
    let mut kept = Vec::new();
    while let Some(offer) = offers.pop() {
        if offer.framework == framework {
            kept.push(offer);
        } else {
            offers.extend(cluster.release(&offer, decline(HOUR_MS)));
        }
    }
    kept
}

/// It has least, so it is always asked first; what it declines is the others' at the same moment, and it is not asked about
/// it again. What it waits for it gets.
#[test]
fn a_picky_framework_costs_the_others_nothing() {
    let mut cluster = Cluster::default();
    let (modest, _) = cluster.framework("*");
    let (picky, _) = cluster.framework("*");
    let mut taken = BTreeSet::new();
    let mut asked = 0;
    for _ in 0..100 {
        let (agent, mut offers) = cluster.agent("cpus:4;mem:1024");
        while let Some(offer) = offers.pop() {
            if offer.framework == modest {
                taken.insert(offer.agent);
            } else {
                asked += 1;
                offers.extend(cluster.release(&offer, decline(HOUR_MS)));
            }
        }
        assert!(taken.contains(&agent), "at once");
    }
    assert!(asked >= 99, "who has nothing is asked first, but where both have nothing");
    // One that is as it wants it.
    let (_, offers) = cluster.agent("cpus:64;mem:65536");
    assert_eq!(whose(&offers), [picky]);
    // A filter of an hour keeps nobody busy: nothing is due before.
    assert!(cluster.core.deadline().is_none_or(|at| at >= Time::from_ms(HOUR_MS)));
}

/// One uses up the ports of every agent. Who needs ports declines what is left, and those get it who do not; when ports
/// come free, who declined is asked again: the refusal was of less.
#[test]
fn port_less_remnants_are_used_and_ports_are_offered_when_they_come_free() {
    let mut cluster = Cluster::default();
    let (greedy, _) = cluster.framework("*");
    let mut tasks = Vec::new();
    for _ in 0..10 {
        let (agent, offers) = cluster.agent("cpus:4;mem:1024;ports:[1-9]");
        assert_eq!(whose(&offers), [greedy]);
        let rest = Event::Release {
            framework: greedy,
            agent,
            resources: plain("cpus:3;mem:1000"),
            refusal: decline(HOUR_MS),
        };
        assert_eq!(cluster.tell(rest), []);
        tasks.push(agent);
    }
    let (server, mut offers) = cluster.framework("*");
    assert_eq!(whose(&offers), [server; 10]);
    let (batch, _) = cluster.framework("*");
    let given: Vec<_> =
        offers.drain(..).flat_map(|offer| cluster.release(&offer, decline(HOUR_MS))).collect();
    assert_eq!(whose(&given), [batch; 10]);
    assert_eq!(cpus(&given), 30);
    // A task of the greedy one ends, and the batch framework's on the same agent: all has ports now.
    let agent = tasks[0];
    let ended = Event::Release {
        framework: greedy,
        agent,
        resources: plain("cpus:1;mem:24;ports:[1-9]"),
        refusal: Refusal::None,
    };
    let offers = cluster.tell(ended);
    assert_eq!(whose(&offers), [server], "it has nothing, and has refused less than this");
}

/// Nobody looks at every agent for each of them: they are decided together, and everybody gets as much.
#[test]
fn a_thousand_who_revive_at_once_are_served_in_one_pass() {
    let mut cluster = Cluster::default();
    let mut frameworks = Vec::new();
    for _ in 0..1000 {
        let framework = cluster.frameworks.take();
        let info = Claims { roles: vec![Role::star()], suppressed: vec![Role::star()], ..Claims::default() };
        cluster.core.apply(cluster.now, Event::AddFramework { framework, info, is_active: true });
        frameworks.push(framework);
    }
    for _ in 0..500 {
        let agent = cluster.agents.take();
        let total = "cpus:4;mem:1024".parse().unwrap();
        cluster.core.apply(cluster.now, Event::AddAgent { agent, total, used: Vec::new() });
    }
    let mut offers = Vec::new();
    cluster.core.settle(cluster.now, &mut offers);
    assert!(offers.is_empty());
    let before = cluster.core.stats().decision_count;
    for &framework in &frameworks {
        cluster.core.apply(cluster.now, Event::Revive { framework, roles: Vec::new() });
    }
    cluster.core.settle(cluster.now, &mut offers);
    assert_eq!(offers.len(), 500);
    assert_eq!(
        whose(&offers).into_iter().collect::<BTreeSet<_>>().len(),
        500,
        "nobody twice, where others have none"
    );
    assert_eq!(cluster.core.stats().decision_count - before, 500);
    // And again and again, while nothing is free: nothing is looked at.
    for &framework in frameworks.iter().cycle().take(10_000) {
        cluster.core.handle(cluster.now, Event::Revive { framework, roles: Vec::new() }, &mut offers);
    }
    assert_eq!((offers.len(), cluster.core.stats().decision_count - before), (500, 500));
    cluster.core.invariants(cluster.now);
}

/// Without a slice the first gets all of an agent; with one, as many get some as there are slices, and what they do not
/// want is still the first one's.
#[test]
fn one_that_takes_whole_agents_leaves_the_others_a_share() {
    let agent = "cpus:8;mem:1024;ports:[1-100]";
    let mut cluster = Cluster::default();
    let (whale, _) = cluster.framework("*");
    let (_, offers) = cluster.agent(agent);
    let (minnow, _) = cluster.framework("*");
    assert_eq!((whose(&offers), cpus(&offers)), (vec![whale], 8));
    assert_eq!(of(&offers, minnow).count(), 0);

    let mut cluster = sliced("0.25");
    let (whale, _) = cluster.framework("*");
    let minnows = [(); 3].map(|()| cluster.framework("*").0);
    let (_, offers) = cluster.agent(agent);
    let everybody = minnows.into_iter().chain([whale]).collect::<BTreeSet<_>>();
    assert_eq!(offers.len(), 4);
    assert_eq!(whose(&offers).into_iter().collect::<BTreeSet<_>>(), everybody);
    for offer in &offers {
        let amounts = (offer.resources.scalar(CPUS).milli(), offer.resources.scalar(MEM).milli());
        assert_eq!((amounts, offer.resources.ranges("ports").count()), ((2000, 256_000), 25));
    }
    // Nobody else wants theirs; some are offered another's ports meanwhile, and want those no more.
    let kept = all_declined_but(&mut cluster, offers, whale);
    assert_eq!((kept.len(), cpus(&kept)), (4, 8));
}

/// Nothing lies idle because it was cut: who alone wants an agent gets all of it, in as many offers as there are slices;
/// and declines each once, not for ever.
#[test]
fn slices_lose_nothing_and_a_refused_one_does_not_come_back() {
    let mut cluster = sliced("cpus:2");
    let (_, offers) = cluster.agent("cpus:8;mem:1024;ports:[1-100]");
    assert_eq!(offers, []);
    let (framework, offers) = cluster.framework("*");
    assert_eq!(whose(&offers), [framework; 4]);
    let mut sum = Resources::default();
    offers.iter().for_each(|offer| sum.add(&offer.resources));
    assert_eq!(sum, plain("cpus:8;mem:1024;ports:[1-100]"));
    let again: Vec<_> = offers.iter().flat_map(|offer| cluster.release(offer, decline(HOUR_MS))).collect();
    assert_eq!(again, []);
    // Two slices' worth is free then, of which one slice is offered to whom comes.
    let (_, offers) = cluster.framework("*");
    assert_eq!((offers.len(), cpus(&offers)), (4, 8));
}

/// The master takes back what nobody answers (`--offer-timeout`), as a pass: the others are asked first, even those who have
/// more by now.
#[test]
fn who_holds_offers_without_an_answer_is_the_last_to_see_them_again() {
    let mut cluster = Cluster::default();
    let (_, mut used) = cluster.framework("*");
    let (hoarder, _) = cluster.framework("*");
    let (busy, _) = cluster.framework("*");
    let mut hoarded = Vec::new();
    for _ in 0..30 {
        let (_, offers) = cluster.agent("cpus:4;mem:1024");
        for offer in offers {
            if offer.framework == hoarder { hoarded.push(offer) } else { used.push(offer) }
        }
    }
    assert_eq!((hoarded.len(), used.len()), (10, 20));
    let mut given = Vec::new();
    for offer in &hoarded {
        given.extend(cluster.release(offer, Refusal::Pass));
    }
    given.extend(cluster.wait(Time::from_ms(5)).into_iter().map(|(_, offer)| offer));
    assert_eq!(given.len(), 10);
    assert_eq!(of(&given, hoarder).count(), 0);
    assert!(of(&given, busy).count() > 0);
    // Nobody else wants them: then the hoarder is asked after all, after a pause.
    let kept = all_declined_but(&mut cluster, given, hoarder);
    assert_eq!(kept, []);
    let later = cluster.wait(Time::from_ms(2000));
    let later: Vec<_> = later.into_iter().map(|(_, offer)| offer).collect();
    assert_eq!(whose(&later), [hoarder; 10]);
}
