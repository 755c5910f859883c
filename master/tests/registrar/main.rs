//! The registry through every fault of its storage: what was answered is in it, whatever happens then.

use master::registrar::change::Change;
use master::registrar::registry::Registry;
use master::registrar::storage::Storage;
use master::registrar::storage::faulty::{Breaking, Disk, Loss, after_power_loss};
use master::registrar::storage::memory::Memory;
use master::registrar::storage::redb::Redb;
use master::registrar::{Failure, Registrar};
use model::agent_info::AgentInfo;
use model::body::Body;
use model::id::AgentId;
use model::maintenance::{MachineId, Scheduled, Unavailability};
use model::quantity::Quantity;
use model::role::Role;
use model::time::UnixTime;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::registry::{DrainRecord, QuotaRecord, WithdrawalRecord};

fn info(port: u16) -> Arc<AgentInfo> {
    Arc::new(AgentInfo {
        hostname: format!("host{port}").into(),
        address: ([127, 0, 0, 1], port).into(),
        total: "cpus:4;mem:1024;disk:1000".parse().expect("resources"),
        boot_id: "boot".into(),
        version: "1.11.0".into(),
        body: Body::new(vec![7; usize::from(port % 997)]),
    })
}

fn change() -> impl Strategy<Value = Change> {
    let agent = || (0_u8..6).prop_map(|n| AgentId::new(format!("m-S{n}")));
    let role = || (0_u8..3).prop_map(|n| Role::parse(&format!("role{n}")).expect("a role"));
    let withdrawal =
        (any::<bool>(), any::<Option<(bool, Option<u64>, bool)>>()).prop_map(|(is_deactivated, drain)| {
            let drain = drain.map(|(is_drained, max_grace_ns, marks_gone)| DrainRecord {
                is_drained,
                max_grace_ns,
                marks_gone,
                started: None,
            });
            WithdrawalRecord { is_deactivated, drain }
        });
    let quota = (1_u64..9).prop_map(|n| QuotaRecord {
        guarantees: BTreeMap::new(),
        limits: BTreeMap::from([("cpus".into(), Quantity::from_units(n))]),
    });
    prop_oneof![
        4 => (agent(), any::<u16>()).prop_map(|(agent_id, port)| Change::Admit { agent_id, info: info(port) }),
        2 => (agent(), any::<u32>())
            .prop_map(|(agent_id, at)| Change::Unreachable { agent_id, since: UnixTime(at.into()) }),
        1 => (agent(), any::<u32>()).prop_map(|(agent_id, at)| Change::Gone { agent_id, since: UnixTime(at.into()) }),
        1 => agent().prop_map(|agent_id| Change::Forget { agent_id }),
        2 => (agent(), withdrawal).prop_map(|(agent_id, withdrawal)| Change::Withdraw { agent_id, withdrawal }),
        1 => proptest::collection::vec((role(), proptest::option::of(quota)), 1..3)
            .prop_map(|quotas| Change::Quotas { quotas }),
        1 => proptest::collection::vec((role(), proptest::option::of(1_u64..9)), 1..3).prop_map(|weights| {
            let weight = |(role, weight): (Role, Option<u64>)| (role, weight.map(Quantity::from_units));
            Change::Weights { weights: weights.into_iter().map(weight).collect() }
        }),
        1 => proptest::collection::vec(("[a-c]", proptest::option::of((any::<i64>(), any::<bool>()))), 1..3).prop_map(
            |machines| {
                let scheduled = |(start_ns, is_down)| Scheduled {
                    window: 0,
                    place: 0,
                    unavailability: Unavailability { start_ns, duration_ns: None },
                    is_down,
                };
                let machine = |(name, it): (String, Option<_>)| (MachineId::new(&name, None), it.map(scheduled));
                Change::Machines { machines: machines.into_iter().map(machine).collect() }
            }
        ),
    ]
}

fn batches() -> impl Strategy<Value = Vec<Vec<Change>>> {
    proptest::collection::vec(proptest::collection::vec(change(), 1..5), 1..6)
}

/// What the registry is after each batch, from none on.
fn histories(batches: &[Vec<Change>]) -> Vec<Registry> {
    let mut registry = Registry::default();
    let mut all = vec![registry.clone()];
    for batch in batches {
        for change in batch {
            registry.apply(change);
        }
        all.push(registry.clone());
    }
    all
}

/// Writes batch by batch until that fails, and tells of each that was answered.
fn write(
    storage: Box<dyn Storage>,
    batches: &[Vec<Change>],
    mut answered: impl FnMut(usize),
) -> Result<(), Failure> {
    let mut registrar = Registrar::open(storage)?;
    for (at, batch) in batches.iter().enumerate() {
        batch.iter().for_each(|change| registrar.push(change.clone()));
        assert_eq!(registrar.write()?, batch.len());
        answered(at + 1);
    }
    Ok(())
}

fn read(image: Vec<u8>) -> Registry {
    let storage = Redb::over(Disk::holding(image)).expect("it opens");
    Registrar::open(Box::new(storage)).expect("it can be read").registry().clone()
}

/// An empty registry, as `Redb::open` has one before anything depends on it.
fn empty() -> Vec<u8> {
    let disk = Disk::default();
    drop(Redb::over(disk.clone()).expect("it opens"));
    disk.image()
}

/// Writes all batches onto a disk. How many steps it had done when each was answered.
fn written(batches: &[Vec<Change>]) -> (Disk, Vec<usize>) {
    let disk = Disk::holding(empty());
    let storage = Redb::over(disk.clone()).expect("it opens");
    let mut answers = vec![0];
    write(Box::new(storage), batches, |_| answers.push(disk.step_count())).expect("nothing fails");
    (disk, answers)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn power_may_fail_behind_any_step_of_the_disk(batches in batches()) {
        let (histories, empty) = (histories(&batches), empty());
        let (disk, answers) = written(&batches);
        let steps = disk.steps();
        for n in 0..=steps.len() {
            // What was answered by then, and at most one batch more.
            let answered = answers.iter().rposition(|done| *done <= n).unwrap_or(0);
            let possible = &histories[answered..(answered + 2).min(histories.len())];
            for loss in [Loss::All, Loss::None, Loss::Alternate, Loss::Torn] {
                let found = read(after_power_loss(&empty, &steps[..n], loss));
                prop_assert!(possible.contains(&found), "behind step {} of {}, {:?}", n, steps.len(), loss);
            }
        }
    }

    #[test]
    fn a_disk_that_breaks_is_an_error_and_loses_nothing_that_was_answered(batches in batches()) {
        let (histories, empty) = (histories(&batches), empty());
        let (disk, _) = written(&batches);
        for steps_max in 0..disk.step_count() {
            let disk = Disk::holding(empty.clone());
            disk.break_after(steps_max);
            let mut answered = 0;
            if let Ok(storage) = Redb::over(disk.clone()) {
                // The end of the file's life, which no answer waits for, may be what fails.
                drop(write(Box::new(storage), &batches, |at| answered = at));
            }
            let found = read(after_power_loss(&empty, &disk.steps(), Loss::None));
            let possible = &histories[answered..(answered + 2).min(histories.len())];
            prop_assert!(possible.contains(&found), "broken after {} steps", steps_max);
        }
    }

    #[test]
    fn a_batch_that_breaks_off_leaves_whole_objects(batches in batches()) {
        let histories = histories(&batches);
        for writes_max in 0..=batches.iter().map(Vec::len).sum() {
            let shared = Breaking::new(writes_max);
            let mut answered = 0;
            let end = write(Box::new(shared.clone()), &batches, |at| answered = at);
            let left = Registrar::open(Box::new(Memory { objects: shared.objects() })).expect("whole objects");
            // Each object is what it was when the batch began, or what the batch made of it.
            let (before, after) = (&histories[answered], &histories[(answered + 1).min(histories.len() - 1)]);
            for (id, agent) in &left.registry().agents {
                let known = [before.agents.get(id), after.agents.get(id)];
                prop_assert!(known.contains(&Some(agent)), "{} after {} writes", id, writes_max);
            }
            prop_assert!(end.is_err() || left.registry() == &histories[batches.len()]);
        }
    }
}

/// A full disk is said to be full, and with room again all is there.
#[test]
fn a_full_disk_is_named_and_loses_nothing() {
    let empty = empty();
    let disk = Disk::holding(empty.clone());
    let mut registrar =
        Registrar::open(Box::new(Redb::over(disk.clone()).expect("it opens"))).expect("empty");
    registrar.push(Change::Admit { agent_id: AgentId::new("first"), info: info(1) });
    assert_eq!(registrar.write().expect("there is room"), 1);
    let kept = registrar.registry().clone();
    disk.limit(Some(0));
    for n in 0..50_000 {
        registrar.push(Change::Admit { agent_id: AgentId::new(format!("a{n}")), info: info(996) });
    }
    let failure = registrar.write().expect_err("there is no room");
    let causes: Vec<String> =
        std::iter::successors(Some(&failure as &dyn std::error::Error), |it| it.source())
            .map(ToString::to_string)
            .collect();
    assert!(
        causes.iter().any(|cause| cause.contains("o storage space") || cause.contains("storage full")),
        "{causes:?}"
    );
    assert!(causes.iter().any(|cause| cause.contains("registry.redb")), "{causes:?}");
    drop(registrar);
    assert_eq!(read(after_power_loss(&empty, &disk.steps(), Loss::None)), kept);
}

/// One file has one master.
#[test]
fn a_registry_that_is_in_use_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = Redb::open(folder.path()).expect("nobody has it");
    let second = Redb::open(folder.path()).map(drop).expect_err("somebody has it");
    assert!(second.to_string().starts_with("another master uses "), "{second}");
    drop(first);
    drop(Redb::open(folder.path()).expect("nobody has it"));
}

/// What the thread says is durable, is.
#[test]
fn the_thread_answers_for_every_change_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let registrar = Registrar::open(Box::new(Redb::open(folder.path()).expect("new"))).expect("empty");
    let (sender, counts) = std::sync::mpsc::channel();
    let handle = registrar
        .start(move |count| _ = sender.send(count), |failure| panic!("{failure}"))
        .expect("a thread");
    for n in 0..1000_u16 {
        handle.send(Change::Admit { agent_id: AgentId::new(format!("a{n}")), info: info(n) });
    }
    drop(handle);
    assert_eq!(counts.iter().sum::<usize>(), 1000);
    let again =
        Registrar::open(Box::new(Redb::open(folder.path()).expect("closed"))).expect("it can be read");
    assert_eq!(again.registry().agents.len(), 1000);
}
