//! Whether a task may run on an agent out of what was offered. The texts are Mesos' (src/master/validation.cpp); what a
//! task gets wrong on its own account is found where calls are read (`api::convert::task`).

use super::agents::Agent;
use super::frameworks::Framework;
use super::revocable;
use model::executor::ExecutorInfo;
use model::resources::{Resource, Resources, Value};
use model::task::TaskInfo;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Why the task cannot be launched; the first reason in Mesos' order.
pub(super) fn task(
    task: &TaskInfo,
    framework: &Framework,
    agent: &Agent,
    available: &Resources,
) -> Result<(), String> {
    placed(task, framework, agent)?;
    let mut total = task.resources.clone();
    if let Some(info) = &task.executor {
        executor(info, framework, agent)?;
        if overlaps(&task.resources, &info.resources) {
            return Err(format!(
                "There are overlapping resources in the task resources {} and executor resources {}",
                described(&task.resources),
                described(&info.resources)
            ));
        }
        unmixed("Task and its executor mix", [&task.resources, &info.resources])?;
        if !agent.executors.contains_key(&(framework.id.clone(), info.executor_id.clone())) {
            total.add(&info.resources);
        }
    }
    if available.contains(&total) {
        return Ok(());
    }
    Err(format!(
        "Total resources {} required by task and its executor is more than available {}",
        described(&total),
        described(available)
    ))
}

/// Why the group cannot be launched: of its tasks, then of the executor that they share, then of all together.
pub(super) fn group(
    tasks: &[TaskInfo],
    framework: &Framework,
    agent: &Agent,
    available: &Resources,
) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for task in tasks {
        let id = &task.task_id;
        placed(task, framework, agent).map_err(|why| format!("Task '{id}' is invalid: {why}"))?;
        // Mesos does not look, and its master ends at the second.
        if !seen.insert(id) {
            return Err(format!("Task '{id}' is invalid: Task has duplicate ID: {id}"));
        }
    }
    let Some(info) = tasks.first().and_then(|task| task.executor.as_ref()) else { return Ok(()) };
    executor(info, framework, agent)?;
    let all = tasks.iter().map(|task| &task.resources).chain([&info.resources]);
    unmixed("Task group and executor mix", all)?;
    let parts: Vec<&Resources> = tasks.iter().map(|task| &task.resources).chain([&info.resources]).collect();
    if parts.iter().enumerate().any(|(i, a)| parts.iter().skip(i + 1).any(|b| overlaps(a, b))) {
        let each: Vec<String> = tasks.iter().map(|task| described(&task.resources)).collect();
        return Err(format!(
            "There are overlapping resources in the task group's task resources [ {} ] and/or executor resources {}",
            each.join(", "),
            described(&info.resources)
        ));
    }
    let mut total = Resources::default();
    tasks.iter().for_each(|task| total.add(&task.resources));
    if !agent.executors.contains_key(&(framework.id.clone(), info.executor_id.clone())) {
        total.add(&info.resources);
    }
    if !available.contains(&total) {
        return Err(format!(
            "Total resources {} required by task group and its executor are more than available {}",
            described(&total),
            described(available)
        ));
    }
    same_cgroups(tasks, info, framework, agent)
}

/// Tasks of one executor are all held by its limits, or each by its own.
fn same_cgroups(
    tasks: &[TaskInfo],
    info: &ExecutorInfo,
    framework: &Framework,
    agent: &Agent,
) -> Result<(), String> {
    let is_its = |task: &TaskInfo| {
        task.agent_id == agent.id
            && task.executor.as_ref().is_some_and(|other| other.executor_id == info.executor_id)
    };
    let known = framework.tasks.values().chain(&framework.unreachable);
    // Those that are there are equal among themselves.
    let known = known.map(|task| &*task.info).find(|task| is_its(task));
    let shares = |task: &TaskInfo| api::convert::group::task_shares_cgroups(task);
    match known.zip(tasks.first()) {
        Some((known, first)) if shares(known) != shares(first) => {
            Err(api::convert::group::BadGroup::SharesCgroups.to_string())
        }
        _ => Ok(()),
    }
}

/// Whether the task can be a new one on this agent.
fn placed(task: &TaskInfo, framework: &Framework, agent: &Agent) -> Result<(), String> {
    if framework.tasks.contains_key(&task.task_id) {
        return Err(format!("Task has duplicate ID: {}", task.task_id));
    }
    if framework.unreachable.iter().any(|other| other.info.task_id == task.task_id) {
        return Err(format!("Task reuses the ID of an unreachable task: {}", task.task_id));
    }
    if task.agent_id != agent.id {
        let (given, expected) = (&task.agent_id, &agent.id);
        return Err(format!("Task uses invalid agent {given} while agent {expected} is expected"));
    }
    revocable::understood(&task.resources, &framework.info)?;
    one_role(&task.resources).map_err(|why| format!("Invalid task resources: {why}"))
}

/// Whether those together take no resource half on loan.
fn unmixed<'a>(who: &str, all: impl IntoIterator<Item = &'a Resources> + Clone) -> Result<(), String> {
    if !all.clone().into_iter().flat_map(Resources::iter).any(|part| part.is_revocable) {
        return Ok(());
    }
    let mut sum = Resources::default();
    all.into_iter().for_each(|each| sum.add(each));
    revocable::unmixed(&sum).map_err(|why| format!("{who} revocable and non-revocable resources: {why}"))
}

fn executor(info: &ExecutorInfo, framework: &Framework, agent: &Agent) -> Result<(), String> {
    if let Some(other) = info.framework_id.as_ref().filter(|other| **other != framework.id) {
        let expected = &framework.id;
        return Err(format!(
            "ExecutorInfo has an invalid FrameworkID (Actual: {other} vs Expected: {expected})"
        ));
    }
    revocable::understood(&info.resources, &framework.info)?;
    one_role(&info.resources).map_err(|why| format!("Invalid executor resources: {why}"))?;
    unmixed("Executor mixes", [&info.resources])?;
    if let Some(shared) = info.resources.iter().find(|part| part.is_shared) {
        let shared = described(&[shared.clone()].into_iter().collect());
        return Err(format!("Executor resources {shared} should not contain any shared resources"));
    }
    let place = (framework.id.clone(), info.executor_id.clone());
    match agent.executors.get(&place) {
        Some(running) if running.info != *info => Err(format!(
            "ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID.\n\
             ------------------------------------------------------------\n\
             Existing ExecutorInfo:\n{}\n\
             ------------------------------------------------------------\n\
             ExecutorInfo:\n{}\n\
             ------------------------------------------------------------\n",
            shown(&running.info),
            shown(info)
        )),
        _ => Ok(()),
    }
}

/// What of an executor is seen here; the rest of the two may differ in what its framework alone understands.
fn shown(info: &ExecutorInfo) -> String {
    let name = info.name.as_deref().unwrap_or_default();
    let (id, resources, bytes) = (&info.executor_id, described(&info.resources), info.body.0.len());
    format!("executor_id {id}, name '{name}', resources {resources}, {bytes} bytes in all")
}

fn one_role(resources: &Resources) -> Result<(), String> {
    let mut roles = resources.iter().filter_map(|part| part.allocation.as_ref());
    let Some(first) = roles.next() else { return Ok(()) };
    match roles.find(|role| *role != first) {
        Some(other) => Err(format!(
            "The resources have multiple allocation roles ('{other}' and '{first}') but only one allocation role is \
             allowed"
        )),
        None => Ok(()),
    }
}

/// Whether the two name the same port or set item.
fn overlaps(a: &Resources, b: &Resources) -> bool {
    let meets = |a: &Resource, b: &Resource| {
        a.name == b.name
            && match (&a.value, &b.value) {
                (Value::Ranges(a), Value::Ranges(b)) => a.union(b).count() < a.count() + b.count(),
                (Value::Set(a), Value::Set(b)) => !a.is_disjoint(b),
                _ => false,
            }
    };
    a.iter().any(|a| b.iter().any(|b| meets(a, b)))
}

/// As Mesos writes resources in its messages: `cpus(allocated: *):1; mem(allocated: *):32`.
pub(super) fn described(resources: &Resources) -> String {
    let mut text = String::new();
    for part in resources.iter() {
        let separator = if text.is_empty() { "" } else { "; " };
        let alone = Resources::from_iter([Resource { reservations: Vec::new(), ..part.clone() }]).to_string();
        let (name, value) = alone.split_at(part.name.len());
        let _ = write!(text, "{separator}{name}");
        if let Some(role) = &part.allocation {
            let _ = write!(text, "(allocated: {role})");
        }
        for reservation in &part.reservations {
            let kind = if reservation.is_dynamic { "DYNAMIC" } else { "STATIC" };
            let _ = write!(text, "(reservations: [({kind},{})])", reservation.role);
        }
        text.push_str(value);
    }
    if text.is_empty() { "{}".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::role::Role;

    #[test]
    fn resources_are_described_in_mesos_words() {
        let resources: Resources = "cpus:0.1;mem(eng):32;ports:[31000-31001]".parse().expect("resources");
        let allocated = resources.allocated_to(&Role::star());
        let expected = "cpus(allocated: *):0.1; mem(allocated: *)(reservations: [(STATIC,eng)]):32; \
                        ports(allocated: *):[31000-31001]";
        assert_eq!(described(&allocated), expected);
        assert_eq!(described(&Resources::default()), "{}");
    }

    #[test]
    fn a_port_cannot_be_used_twice() {
        let r = |text: &str| text.parse::<Resources>().expect("resources");
        assert!(overlaps(&r("ports:[1-5]"), &r("ports:[5-6]")));
        assert!(!overlaps(&r("ports:[1-4];cpus:1"), &r("ports:[5-6];cpus:1")));
    }
}
