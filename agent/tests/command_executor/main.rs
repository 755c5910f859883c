//! The command executor, the real process, against an agent that does what the test says: what it tells, how it ends
//! commands, and that no word of it is lost.

#![expect(clippy::disallowed_methods, reason = "a test that measures how long the real thing takes")]

mod scene;

use std::fs::OpenOptions;
use std::time::{Duration, Instant};

use api::v1;
use api::v1::TaskState::{TaskFailed, TaskFinished, TaskKilled, TaskKilling, TaskRunning, TaskStarting};
use api::v1::framework_info::capability::Type::TaskKillingState;
use scene::{Agent, Executor, Stream, duration, shell, task, wait_for_end};

/// An executor that has subscribed.
fn subscribed(variables: &[(&str, &str)]) -> (Agent, Stream, Executor) {
    let agent = Agent::new();
    let executor = Executor::start(&agent, variables);
    let (told, mut stream) = agent.subscribe();
    assert!(told.unacknowledged_tasks.is_empty() && told.unacknowledged_updates.is_empty());
    stream.subscribed(&[TaskKillingState]);
    (agent, stream, executor)
}

/// An executor whose command runs; both updates are acknowledged.
fn running(task: v1::TaskInfo) -> (Agent, Stream, Executor) {
    let (agent, mut stream, executor) = subscribed(&[]);
    stream.launch(task);
    for state in [TaskStarting, TaskRunning] {
        stream.acknowledge(&agent.update(state));
    }
    (agent, stream, executor)
}

/// Runs a task to its end and gives the last update and the executor, which has ended well.
#[track_caller]
fn check_end(task: v1::TaskInfo, state: v1::TaskState, message: &str) -> (v1::TaskStatus, Executor) {
    let (agent, mut stream, mut executor) = running(task);
    let last = agent.update(state);
    assert_eq!(last.message(), message);
    stream.acknowledge(&last);
    assert_eq!(executor.wait().code(), Some(0));
    assert!(agent.has_no_call());
    (last, executor)
}

#[test]
fn a_command_runs_in_the_sandbox_and_its_end_is_told() {
    let (last, executor) =
        check_end(shell("pwd; echo err >&2"), TaskFinished, "Command exited with status 0");
    assert_eq!(executor.read("stdout").trim(), executor.path("").to_str().unwrap().trim_end_matches('/'));
    assert_eq!(executor.read("stderr"), "err\n");
    assert_eq!(last.reason, None);
    assert!(last.timestamp() > 1.7e9);
}

#[test]
fn exits_and_signals_are_told_in_mesos_words() {
    check_end(shell("exit 7"), TaskFailed, "Command exited with status 7");
    check_end(shell("no-such-command 2>/dev/null"), TaskFailed, "Command exited with status 127");
    check_end(shell("kill -9 $$"), TaskFailed, "Command terminated with signal Killed");
    check_end(shell("kill -34 $$"), TaskFailed, "Command terminated with signal 34");
}

#[test]
fn a_program_gets_its_arguments_and_variables() {
    let variable = |name: &str, value: &str| v1::environment::Variable {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        ..Default::default()
    };
    let variables = vec![variable("MESOS_CHECKPOINT", "mine"), variable("GREETING", "hello")];
    let mut asked = task(v1::CommandInfo {
        shell: Some(false),
        value: Some("env".to_owned()),
        arguments: ["env", "-u", "PATH", "AND=more"].map(str::to_owned).to_vec(),
        environment: Some(v1::Environment { variables }),
        ..Default::default()
    });
    asked.resources.push(v1::Resource {
        name: "cpus".to_owned(),
        allocation_info: Some(v1::resource::AllocationInfo { role: Some("web".to_owned()) }),
        ..Default::default()
    });
    let (_, executor) = check_end(asked, TaskFinished, "Command exited with status 0");
    let stdout = executor.read("stdout");
    let has = |line: &str| stdout.lines().any(|it| it == line);
    for line in [
        "GREETING=hello",
        "AND=more",
        "MESOS_CHECKPOINT=mine",
        "MESOS_EXECUTOR_ID=task",
        "MESOS_ALLOCATION_ROLE=web",
    ] {
        assert!(has(line), "{line} in:\n{stdout}");
    }
    assert!(!stdout.contains("\nPATH=") && !stdout.starts_with("PATH="));
}

/// What never ran is not told to run.
#[track_caller]
fn check_refused(task: v1::TaskInfo, message: &str) {
    let (agent, mut stream, mut executor) = subscribed(&[]);
    stream.launch(task);
    stream.acknowledge(&agent.update(TaskStarting));
    let last = agent.update(TaskFailed);
    assert_eq!(last.message(), message);
    stream.acknowledge(&last);
    assert_eq!(executor.wait().code(), Some(0));
}

#[test]
fn what_cannot_run_fails_with_a_reason() {
    let program = |value: Option<&str>| {
        task(v1::CommandInfo { shell: Some(false), value: value.map(str::to_owned), ..Default::default() })
    };
    check_refused(
        program(Some("/no/such")),
        "Failed to execute '/no/such': execve: No such file or directory",
    );
    check_refused(program(None), "Executable is not specified");
    let watched = v1::TaskInfo { health_check: Some(v1::HealthCheck::default()), ..shell("true") };
    check_refused(watched, "TaskInfo.health_check: HealthCheck must specify 'type'");
}

fn command_check(line: &str, timeout: f64) -> v1::CheckInfo {
    let command = v1::CommandInfo { value: Some(line.to_owned()), ..Default::default() };
    v1::CheckInfo {
        r#type: Some(v1::check_info::Type::Command.into()),
        command: Some(v1::check_info::Command { command }),
        delay_seconds: Some(0.0),
        interval_seconds: Some(0.02),
        timeout_seconds: Some(timeout),
        ..Default::default()
    }
}

fn exit_code(status: &v1::TaskStatus) -> Option<i32> {
    status.check_status.as_ref().and_then(|it| it.command.as_ref()).expect("it is checked").exit_code
}

#[test]
fn a_command_check_runs_beside_the_task_and_tells_what_has_changed() {
    // With the variables of the task, in its folder.
    let variable = |name: &str, value: &str| v1::environment::Variable {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        ..Default::default()
    };
    let mut task = shell("echo 3 > code; sleep 1000");
    let command = task.command.as_mut().unwrap();
    command.environment = Some(v1::Environment { variables: vec![variable("FILE", "code")] });
    let check = Some(command_check("echo looked >&2; exit $(cat $FILE)", 0.0));
    let (agent, mut stream, executor) = subscribed(&[]);
    stream.launch(v1::TaskInfo { check, ..task });
    for state in [TaskStarting, TaskRunning] {
        assert_eq!(exit_code(&agent.update(state)), None);
    }
    loop {
        // It may be faster than the task.
        let told = agent.update(TaskRunning);
        assert_eq!(told.reason(), v1::task_status::Reason::TaskCheckStatusUpdated);
        if exit_code(&told) == Some(3) {
            break;
        }
    }
    std::fs::write(executor.path("new"), "0\n").unwrap();
    std::fs::rename(executor.path("new"), executor.path("code")).unwrap();
    assert_eq!(exit_code(&agent.update(TaskRunning)), Some(0));
    assert!(executor.read("stderr").contains("looked\n"));
    assert!(agent.has_no_call());
}

#[test]
fn a_check_that_takes_too_long_ends_with_all_that_it_has_started() {
    let line = "sleep 1000 & echo $! > inner; setsid sleep 1000 & echo $! > outer; wait";
    let check = command_check(&format!("[ -e outer ] && exit 5; {line}"), 0.5);
    let (agent, mut stream, executor) = subscribed(&[]);
    stream.launch(v1::TaskInfo { check: Some(check), ..shell("sleep 1000") });
    agent.update(TaskStarting);
    agent.update(TaskRunning);
    // The first comes to nothing, which is no news; the second to something.
    assert_eq!(exit_code(&agent.update(TaskRunning)), Some(5));
    for name in ["inner", "outer"] {
        wait_for_end(executor.wait_for_line(name).parse().unwrap());
    }
    let stderr = executor.read("stderr");
    assert!(stderr.contains("check failed: no result within 0.5 seconds"), "{stderr}");
}

#[test]
fn a_task_whose_health_check_fails_is_killed() {
    let health_check = v1::HealthCheck {
        r#type: Some(v1::health_check::Type::Command.into()),
        command: Some(v1::CommandInfo { value: Some("exit 1".to_owned()), ..Default::default() }),
        delay_seconds: Some(0.0),
        interval_seconds: Some(0.02),
        consecutive_failures: Some(2),
        grace_period_seconds: Some(0.0),
        ..Default::default()
    };
    let (agent, mut stream, mut executor) =
        running(v1::TaskInfo { health_check: Some(health_check), ..shell("sleep 1000") });
    for _ in 0..2 {
        let told = agent.update(TaskRunning);
        assert_eq!(told.reason(), v1::task_status::Reason::TaskHealthCheckStatusUpdated);
        assert_eq!(told.healthy, Some(false));
    }
    agent.update(TaskKilling);
    let last = agent.update(TaskKilled);
    assert_eq!((last.healthy, last.message()), (Some(false), "Command terminated with signal Terminated"));
    stream.acknowledge(&last);
    assert_eq!(executor.wait().code(), Some(0));
}

#[test]
fn a_kill_asks_first() {
    let (agent, mut stream, mut executor) = running(shell("sleep 1000"));
    stream.kill(None);
    let killing = agent.update(TaskKilling);
    let killed = agent.update(TaskKilled);
    assert_eq!(killed.message(), "Command terminated with signal Terminated");
    stream.acknowledge(&killing);
    stream.acknowledge(&killed);
    assert_eq!(executor.wait().code(), Some(0));
}

#[test]
fn a_command_that_does_not_listen_is_killed_when_the_grace_is_over() {
    // One child stays in the group, one leaves it; both ignore SIGTERM.
    let line = "trap '' TERM; sleep 1000 & echo $! > inner; setsid sleep 1000 & \
                echo $! > outer; echo > ready; while :; do wait; done";
    let (agent, mut stream, mut executor) = running(shell(line));
    executor.wait_for_line("ready");
    // The first grace would outlast the test; a later kill may shorten it.
    stream.kill(Some(Duration::from_secs(3600)));
    stream.acknowledge(&agent.update(TaskKilling));
    stream.kill(Some(Duration::from_millis(50)));
    let killed = agent.update(TaskKilled);
    assert_eq!(killed.message(), "Command terminated with signal Killed");
    for name in ["inner", "outer"] {
        wait_for_end(executor.wait_for_line(name).parse().unwrap());
    }
    stream.acknowledge(&killed);
    assert_eq!(executor.wait().code(), Some(0));
}

#[test]
fn a_handler_of_the_command_may_clean_up() {
    let line = "trap 'echo bye > last; exit 3' TERM; echo > ready; while :; do sleep 1000 & wait; done";
    let (agent, mut stream, executor) = running(shell(line));
    executor.wait_for_line("ready");
    stream.kill(None);
    agent.update(TaskKilling);
    assert_eq!(agent.update(TaskKilled).message(), "Command exited with status 3");
    assert_eq!(executor.read("last"), "bye\n");
}

#[test]
fn a_shutdown_and_a_signal_end_the_command() {
    let (agent, mut stream, mut executor) = running(shell("sleep 1000"));
    stream.shutdown();
    agent.update(TaskKilling);
    stream.acknowledge(&agent.update(TaskKilled));
    assert_eq!(executor.wait().code(), Some(0));

    let (agent, mut stream, mut executor) = running(shell("sleep 1000"));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(executor.pid()), nix::sys::signal::SIGTERM).unwrap();
    agent.update(TaskKilling);
    stream.acknowledge(&agent.update(TaskKilled));
    assert_eq!(executor.wait().code(), Some(0));
}

#[test]
fn a_shutdown_or_a_kill_may_come_before_the_task() {
    let (_agent, mut stream, mut executor) = subscribed(&[]);
    stream.shutdown();
    assert_eq!(executor.wait().code(), Some(0));

    let (agent, mut stream, mut executor) = subscribed(&[]);
    stream.kill(None);
    let killed = agent.update(TaskKilled);
    stream.launch(shell("echo > ran"));
    stream.acknowledge(&killed);
    assert_eq!(executor.wait().code(), Some(0));
    assert!(!executor.path("ran").exists());
}

#[test]
fn a_task_that_takes_too_long_fails() {
    // It has to get as far as its trap.
    let mut task = shell("trap '' TERM; while :; do sleep 1000; done");
    task.max_completion_time = Some(duration(Duration::from_secs(2)));
    let (last, _) = check_end(task, TaskFailed, "Command terminated with signal Killed");
    assert_eq!(last.reason(), v1::task_status::Reason::MaxCompletionTimeReached);
}

const CHECKPOINT: [(&str, &str); 3] = [
    ("MESOS_CHECKPOINT", "1"),
    ("MESOS_RECOVERY_TIMEOUT", "15mins"),
    ("MESOS_SUBSCRIPTION_BACKOFF_MAX", "50ms"),
];

#[test]
fn a_task_outlives_its_agent_and_every_update_is_told_again() {
    let (agent, mut stream, mut executor) = subscribed(&CHECKPOINT);
    stream.launch(shell("mkfifo gate && echo > ready; cat < gate"));
    let starting = agent.update(TaskStarting);
    let running = agent.update(TaskRunning);
    executor.wait_for_line("ready");
    // Gone, and the command ends before the agent is back: the next one is still recovering, twice.
    agent.refuse_next(2);
    drop(stream);
    OpenOptions::new().write(true).open(executor.path("gate")).unwrap();

    let (told, mut stream) = agent.subscribe();
    assert_eq!(told.unacknowledged_tasks.len(), 1);
    let mut updates: Vec<_> = told.unacknowledged_updates.into_iter().map(|it| it.status).collect();
    // The end may have come a moment after the call was made.
    if updates.len() == 2 {
        updates.push(agent.update(TaskFinished));
    }
    assert_eq!(updates[..2], [starting, running]);
    assert_eq!(updates[2].state(), TaskFinished);
    for status in &updates {
        stream.acknowledge(status);
    }
    assert_eq!(executor.wait().code(), Some(0));
    assert!(agent.has_no_call());
}

#[test]
fn what_is_acknowledged_is_not_told_again() {
    let (agent, mut stream, executor) = subscribed(&CHECKPOINT);
    stream.launch(shell("sleep 1000"));
    stream.acknowledge(&agent.update(TaskStarting));
    let running = agent.update(TaskRunning);
    // In a stream, what comes first is heard first.
    stream.shutdown();
    let killing = agent.update(TaskKilling);
    let killed = agent.update(TaskKilled);
    drop(stream);
    let (told, _stream) = agent.subscribe();
    assert!(told.unacknowledged_tasks.is_empty());
    let told: Vec<_> = told.unacknowledged_updates.into_iter().map(|it| it.status).collect();
    assert_eq!(told, [running, killing, killed]);
    drop(executor);
}

#[test]
fn an_update_that_the_agent_does_not_take_is_sent_again() {
    let (agent, mut stream, mut executor) = subscribed(&[]);
    agent.refuse_next(1);
    stream.launch(shell("true"));
    let states = [TaskStarting, TaskRunning, TaskFinished];
    for state in states {
        stream.acknowledge(&agent.update(state));
    }
    assert_eq!(executor.wait().code(), Some(0));
}

#[test]
fn a_checkpointing_executor_waits_for_an_agent_that_is_not_back_yet() {
    let agent = Agent::new();
    agent.refuse_next(3);
    let _executor = Executor::start(&agent, &CHECKPOINT);
    agent.subscribe();
}

#[test]
fn without_checkpoints_a_task_ends_with_its_agent() {
    let (_agent, stream, mut executor) = running(shell("echo $$ > pid; exec sleep 1000"));
    let pid = executor.wait_for_line("pid").parse().unwrap();
    drop(stream);
    assert_eq!(executor.wait().code(), Some(1));
    wait_for_end(pid);
    assert!(executor.read("stderr").contains("there is no agent any more"));
}

#[test]
fn the_environment_names_what_it_lacks() {
    let all = [
        ("MESOS_AGENT_ENDPOINT", "127.0.0.1:1"),
        ("MESOS_FRAMEWORK_ID", "framework"),
        ("MESOS_EXECUTOR_ID", "task"),
    ];
    for (missing, _) in all {
        let mut executor = Executor::start_with(all.into_iter().filter(|(name, _)| *name != missing));
        assert_eq!(executor.wait().code(), Some(1));
        assert!(executor.read("stderr").contains(missing), "{missing}: {}", executor.read("stderr"));
    }
    let bad = ("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", "soon");
    let mut executor = Executor::start_with(all.into_iter().chain([bad]));
    assert_eq!(executor.wait().code(), Some(1));
    assert!(executor.read("stderr").contains("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD: expected a number"));
}

/// What the process has written to: memory of its own, and pages of the program's tables, which hold addresses and grow with
/// the program (much less of an optimized one).
fn anonymous_kib(pid: impl std::fmt::Display) -> (u64, u64) {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).expect("it runs");
    let (mut own, mut relocated, mut is_program) = (0, 0, false);
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if !first.ends_with(':') {
            is_program = line.contains('/');
        } else if first == "Anonymous:" {
            *(if is_program { &mut relocated } else { &mut own }) += second.parse::<u64>().expect("a number");
        }
    }
    (own, relocated)
}

/// What every running command task costs beside its command, and how soon it runs. The bounds are those of an unoptimized
/// build on a busy machine; the figures are printed (`--nocapture`).
#[test]
fn the_executor_is_small_and_quick() {
    let agent = Agent::new();
    let origin = Instant::now();
    let executor = Executor::start(&agent, &[]);
    let (_, mut stream) = agent.subscribe();
    let subscribed = origin.elapsed();
    stream.subscribed(&[]);
    stream.launch(shell("exec sleep 1000"));
    agent.update(TaskStarting);
    agent.update(TaskRunning);
    let running = origin.elapsed();
    let status = std::fs::read_to_string(format!("/proc/{}/status", executor.pid())).unwrap();
    let figure = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let [file_kib, peak_kib] = ["RssFile", "VmHWM"].map(figure);
    let threads = figure("Threads");
    let (own_kib, relocated_kib) = anonymous_kib(executor.pid());
    println!(
        "subscribes after {subscribed:.1?}, runs after {running:.1?}; {own_kib} KiB of its own, {relocated_kib} KiB of \
         addresses in the program, {file_kib} KiB of the program file, {peak_kib} KiB at most; {threads} thread(s)"
    );
    assert_eq!(threads, 1);
    assert!(own_kib < 1 << 10, "{own_kib} KiB\n{status}");
    assert!(running < Duration::from_secs(10), "{running:?}");
}
