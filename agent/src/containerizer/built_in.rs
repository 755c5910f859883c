//! The executors that the agent brings itself: its own program, under other names. Decides; does not look at the machine.

use api::v1;
use model::id::FrameworkId;

use super::plan::Agent;

/// The executor that the agent provides for a task which brings a command and none of its own
/// (Mesos: `Slave::getExecutorInfo`). It carries the task's id, user, environment and files.
pub fn command_executor(agent: &Agent, framework_id: &FrameworkId, task: &v1::TaskInfo) -> v1::ExecutorInfo {
    let command = task.command.clone().unwrap_or_default();
    let line = match (command.shell(), command.value.as_deref()) {
        (true, None) => "(Command: NO COMMAND)".to_owned(),
        (true, Some(line)) => format!("(Command: sh -c '{}')", shorten(line)),
        (false, None) => "(Command: NO EXECUTABLE)".to_owned(),
        (false, Some(value)) => {
            format!("(Command: [{}])", shorten(&format!("{value}, {}", command.arguments.join(", "))))
        }
    };
    let task_id = &task.task_id.value;
    // The executor needs a moment beyond the task's own grace to report that the task is dead.
    let grace = task.kill_policy.as_ref().and_then(|policy| policy.grace_period.as_ref());
    let grace = grace
        .map(|g| v1::DurationInfo { nanoseconds: g.nanoseconds.saturating_add(COMMAND_EXECUTOR_EXTRA_NS) });
    v1::ExecutorInfo {
        executor_id: v1::ExecutorId { value: task_id.clone() },
        framework_id: Some(v1::FrameworkId { value: framework_id.to_string() }),
        name: Some(format!("Command Executor (Task: {task_id}) {line}")),
        source: Some(task_id.clone()),
        container: task.container.clone(),
        labels: task.labels.clone(),
        discovery: task.discovery.clone(),
        shutdown_grace_period: grace,
        command: Some(v1::CommandInfo {
            uris: command.uris,
            environment: command.environment,
            user: command.user,
            ..own_program(agent, "command-executor")
        }),
        ..v1::ExecutorInfo::default()
    }
}

/// The executor that the agent provides for task groups whose framework brings none (`ExecutorInfo.type` DEFAULT).
pub(super) fn default_executor(agent: &Agent) -> v1::CommandInfo {
    own_program(agent, "default-executor")
}

fn own_program(agent: &Agent, personality: &str) -> v1::CommandInfo {
    v1::CommandInfo {
        shell: Some(false),
        value: Some(agent.program.display().to_string()),
        arguments: vec!["ingot-agent".to_owned(), personality.to_owned()],
        ..v1::CommandInfo::default()
    }
}

/// Mesos adds its reaper's interval and one second.
const COMMAND_EXECUTOR_EXTRA_NS: i64 = 2_000_000_000;

fn shorten(text: &str) -> String {
    match text.char_indices().nth(12) {
        Some((at, _)) if text.len() > 15 => format!("{}...", &text[..at]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::{agent, shell};
    use super::*;

    #[test]
    fn a_bare_command_gets_the_agents_own_executor() {
        let task = v1::TaskInfo {
            task_id: v1::TaskId { value: "t1".to_owned() },
            command: Some(v1::CommandInfo {
                user: Some("daemon".to_owned()),
                ..shell("sleep 1000000000000")
            }),
            kill_policy: Some(v1::KillPolicy {
                grace_period: Some(v1::DurationInfo { nanoseconds: 3_000_000_000 }),
            }),
            ..v1::TaskInfo::default()
        };
        let executor = command_executor(&agent(), &"f1".into(), &task);
        assert_eq!(executor.executor_id.value, "t1");
        assert_eq!(
            executor.name.as_deref(),
            Some("Command Executor (Task: t1) (Command: sh -c 'sleep 100000...')")
        );
        assert_eq!(executor.shutdown_grace_period.map(|g| g.nanoseconds), Some(5_000_000_000));
        let command = executor.command.expect("it has one");
        assert_eq!(command.user.as_deref(), Some("daemon"));
        assert_eq!(command.value.as_deref(), Some("/usr/bin/ingot-agent"));
        assert_eq!(command.arguments, ["ingot-agent", "command-executor"]);
    }
}
