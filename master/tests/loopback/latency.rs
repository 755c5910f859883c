//! How long the two hand-overs take that everyone waits for. The figures are printed (`--nocapture`); what is asserted is
//! only that nothing waits for a batch or a timer.

use crate::agent::Agent;
use crate::http::{Scheduler, framework, task};
use crate::start;
use model::id::FrameworkId;
use model::task::TaskState;
use serde_json::json;
use std::time::{Duration, Instant};

const ROUNDS: usize = 50;

#[test]
fn nothing_waits_for_a_batch() {
    let master = start();
    let at = master.address();
    let mut agent = Agent::register(at, 5051, "cpus:1");
    let mut scheduler = Scheduler::subscribe(at, framework());
    let id = FrameworkId::new(&scheduler.framework_id);
    let (mut to_run, mut to_offer) = (Vec::new(), Vec::new());
    let mut offer = scheduler.offer();
    for round in 0..ROUNDS {
        let accepted = Instant::now();
        scheduler.launch(&offer, json!([task(&format!("t{round}"), &offer, 1.0)]), 0.0);
        let ran = agent.next_run();
        to_run.push(accepted.elapsed());
        let ended = Instant::now();
        agent.update(&id, &ran.task_id, TaskState::Finished);
        scheduler.expect("UPDATE");
        offer = scheduler.offer();
        to_offer.push(ended.elapsed());
    }
    for (what, times) in [("ACCEPT to RUN", &mut to_run), ("end of a task to OFFERS", &mut to_offer)] {
        times.sort();
        let (median, worst) = (times[ROUNDS / 2], times[ROUNDS - 1]);
        println!("{what}: median {median:?}, worst of {ROUNDS} {worst:?}");
        assert!(median < Duration::from_millis(100), "{what}: {median:?}");
    }
    master.stop();
}
