//! What is done to revocable containers, and why: in `/state` under `ingot`, and in `/metrics`.

use crate::estimator::qos::{Cause, Decision, Step};
use crate::runtime::qos::View;
use api::exposition::{Kind, Labels, Page, Value};
use serde::Serialize;
use std::collections::BTreeMap;

/// ```json
/// {"targets": {"run_queue_latency_p99_ns": 10000000, "cpu_pressure_permille": 200, "memory_headroom_bytes": 268435456,
///              "kill_after_ns": 10000000000},
///  "not_measured": [], "resting": "SCHED_IDLE", "throttled_by": "cgroup.freeze, by turns",
///  "share_permille": 500, "revocable_containers": ["..."], "corrections": {"throttle": 1, ...},
///  "decisions": [{"at": 1764000000.5, "step": "throttle", "share_permille": 500,
///                 "cause": "...", "suffers": "...", "container_id": "..."}, ...]}
/// ```
/// A target that is not set is left out. Decisions are the last ones, oldest first.
#[derive(Serialize)]
pub(super) struct Shown {
    targets: BTreeMap<&'static str, u64>,
    not_measured: Vec<&'static str>,
    resting: &'static str,
    throttled_by: &'static str,
    share_permille: u64,
    revocable_containers: Vec<String>,
    corrections: BTreeMap<&'static str, u64>,
    decisions: Vec<ShownDecision>,
}

#[derive(Serialize)]
struct ShownDecision {
    /// Seconds since 1970.
    at: f64,
    step: &'static str,
    share_permille: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suffers: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_id: Option<String>,
}

impl Shown {
    pub(super) fn of(view: &View) -> Self {
        let targets = [
            ("run_queue_latency_p99_ns", view.targets.wait_p99_ns),
            ("cpu_pressure_permille", view.targets.pressure_permille),
            ("memory_headroom_bytes", view.targets.headroom_bytes),
            ("kill_after_ns", Some(view.targets.kill_after_ns)),
        ];
        let decision = |it: &Decision| ShownDecision {
            at: it.at.0 as f64 / 1e6,
            step: it.step.as_str(),
            share_permille: it.share_permille,
            cause: it.cause.as_ref().map(ToString::to_string),
            suffers: it.cause.as_ref().and_then(|cause| cause.container_id()).map(ToString::to_string),
            container_id: it.container_id.as_ref().map(ToString::to_string),
        };
        Self {
            targets: targets.into_iter().filter_map(|(name, target)| Some((name, target?))).collect(),
            not_measured: view.blind.clone(),
            resting: view.resting,
            throttled_by: view.method.as_str(),
            share_permille: view.share_permille,
            revocable_containers: view.lent.iter().map(ToString::to_string).collect(),
            corrections: counts(view).collect(),
            decisions: view.record.decisions.iter().map(decision).collect(),
        }
    }
}

/// How a revocable container stands: `{"share_permille": 500, "cause": "cpu_pressure"}`, without a cause at rest.
#[derive(Serialize)]
pub(super) struct Held {
    share_permille: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
}

impl Held {
    pub(super) fn of(view: &View) -> Self {
        let causes = view.record.decisions.iter().rev().filter_map(|it| it.cause.as_ref());
        let cause = causes.map(Cause::as_str).next().filter(|_| view.share_permille < 1000);
        Self { share_permille: view.share_permille, cause }
    }
}

fn counts(view: &View) -> impl Iterator<Item = (&'static str, u64)> {
    Step::ALL.into_iter().map(|step| (step.as_str(), view.record.counts.get(&step).copied().unwrap_or(0)))
}

pub(super) fn write(page: &mut Page, view: &View) {
    let help = "Containers that run on revocable resources.";
    page.one("ingot_revocable_containers", Kind::Gauge, help, view.lent.len());
    let help = "Of their CPU time, what they are left, thousandths; 1000: whatever nobody else wants.";
    page.one("ingot_qos_share_permille", Kind::Gauge, help, Value::Whole(view.share_permille));
    let help = "Corrections of revocable containers since the agent started, by step.";
    let mut family = page.family("ingot_qos_corrections_total", Kind::Counter, help);
    for (step, count) in counts(view) {
        family.line(&Labels::of([("step", step)]), Value::Whole(count));
    }
    let help = "From the last moment at which the targets held until the first correction was in effect.";
    let mut family = page.family("ingot_qos_breach_to_action_seconds", Kind::Histogram, help);
    family.histogram(&Labels::NONE, &view.to_action);
    let help = "From that moment until a container that was killed for it was gone.";
    let mut family = page.family("ingot_qos_breach_to_kill_seconds", Kind::Histogram, help);
    family.histogram(&Labels::NONE, &view.to_kill);
}
