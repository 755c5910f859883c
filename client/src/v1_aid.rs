//! Small aids for reading and making v1 messages, which every framework would otherwise write again. Pure.

use api::v1;
use api::v1::TaskState;

/// A scalar resource of `milli` thousandths.
pub fn scalar(name: &str, milli: u64) -> v1::Resource {
    let mut resource = v1::Resource {
        name: name.to_owned(),
        scalar: Some(v1::value::Scalar { value: milli as f64 / 1_000.0 }),
        ..Default::default()
    };
    resource.set_type(v1::value::Type::Scalar);
    resource
}

/// The sum of the unreserved, irrevocable scalars of a name, in thousandths: what any task may use.
pub fn unreserved_milli(resources: &[v1::Resource], name: &str) -> u64 {
    let free = |it: &&v1::Resource| it.name == name && it.reservations.is_empty() && it.revocable.is_none();
    let scalars = resources.iter().filter(free).filter_map(|it| it.scalar.as_ref());
    scalars.map(|it| (it.value * 1_000.0).round().max(0.0) as u64).sum()
}

/// Whether a task in this state does nothing more for its framework. An unreachable one may come back, but nobody who
/// asks this waits for it.
pub fn is_end(state: TaskState) -> bool {
    match state {
        TaskState::TaskStaging
        | TaskState::TaskStarting
        | TaskState::TaskRunning
        | TaskState::TaskKilling => false,
        TaskState::TaskFinished
        | TaskState::TaskFailed
        | TaskState::TaskKilled
        | TaskState::TaskError
        | TaskState::TaskLost
        | TaskState::TaskDropped
        | TaskState::TaskUnreachable
        | TaskState::TaskGone
        | TaskState::TaskGoneByOperator
        | TaskState::TaskUnknown => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_any_task_may_use_is_counted() {
        let mut reserved = scalar("cpus", 4_000);
        reserved.reservations.push(v1::resource::ReservationInfo::default());
        let mut revocable = scalar("cpus", 2_000);
        revocable.revocable = Some(v1::resource::RevocableInfo::default());
        let resources = [scalar("cpus", 500), scalar("mem", 64_000), scalar("cpus", 1), reserved, revocable];
        assert_eq!(unreserved_milli(&resources, "cpus"), 501);
        assert_eq!(unreserved_milli(&resources, "disk"), 0);
    }
}
