//! From what a framework asks for to what will be run: program, environment, folder, user, files, limits. Decides; does
//! not look at the machine. What cannot be given is refused by name here, before anything is made.
//! Long because what is asked for is checked in one place, and half of it are the tests of that.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::v1;
use model::id::{AgentId, BadId, ContainerId, FrameworkId, check_id};

use super::image::ImageWish;
use super::isolation::asked::{Given, Policy, given};
use super::isolation::confinement::{Confinement, Namespaces, SANDBOX};
use super::kept::{self, Kept};
use super::limits::{LimitPolicy, Share, limits};
use super::nested;
use super::overrides::Overrides;
use super::streams::{Io, terminal};
use crate::cgroup::knobs::Limits;
use crate::duration::show_ms;
use crate::images::config::NoExecutable;
use crate::images::users::User;
use crate::logger::settings::{Settings, SettingsError};

/// What the agent knows of itself that an executor is told or measured by. The same for all containers.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Absolute.
    pub work_dir: PathBuf,
    pub agent_id: AgentId,
    /// Where executors reach the agent; not the unspecified address.
    pub address: SocketAddr,
    /// The agent's own program, which is the command executor too. Absolute.
    pub program: PathBuf,
    /// Run executors as the user that the framework names. Only root can.
    pub switch_user: bool,
    pub shutdown_grace_ms: u64,
    /// How long an executor waits for a restarted agent.
    pub recovery_timeout_ms: u64,
    /// The longest pause between two attempts of a disconnected executor to subscribe again.
    pub subscription_backoff_max_ms: u64,
    /// The operator's, for every executor; the framework's own override them.
    pub environment: BTreeMap<String, String>,
    pub limits: LimitPolicy,
    /// How the output of containers is rotated; `None`: it is not.
    pub logger: Option<Settings>,
    /// What containers get of what they ask for, to be kept apart.
    pub isolation: Arc<Policy>,
}

/// One executor to be run.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub container_id: &'a ContainerId,
    pub framework_id: &'a FrameworkId,
    /// For commands that name no user.
    pub framework_user: &'a str,
    /// The framework wants its executors to outlive the agent.
    pub checkpoint: bool,
    pub executor: &'a v1::ExecutorInfo,
    /// Of the command task, where the executor is the agent's own.
    pub task_command: Option<&'a v1::CommandInfo>,
    /// What the executor may use: its own share and one for each of its tasks.
    pub shares: &'a [Share],
}

/// Everything that launching needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub container_id: ContainerId,
    /// The folder the program runs in and writes to; made by the launch.
    pub sandbox: PathBuf,
    /// The container's own folder, out of its reach; made by the launch.
    pub runtime: PathBuf,
    /// A link to the sandbox of an executor's latest run; `None` for a container in another.
    pub latest: Option<PathBuf>,
    /// Of a container in another: the sandbox of the outermost, which holds both to its limits.
    pub nested_in: Option<PathBuf>,
    /// Where what runs in the container finds the sandbox: a root of its own has it elsewhere.
    pub seen: PathBuf,
    /// How far links on the way to `seen` are not those of who runs in some container.
    pub trusted: PathBuf,
    /// Where the program finds itself; the sandbox as it is seen, unless it is a session's.
    pub folder: PathBuf,
    pub io: Io,
    /// Files to try to execute, in this order.
    pub programs: Vec<CString>,
    pub args: Vec<CString>,
    /// Sorted by name.
    pub environment: BTreeMap<String, String>,
    /// `None`: the agent's own.
    pub user: Option<String>,
    pub uris: Vec<v1::command_info::Uri>,
    /// `None`: it is held by what holds the container that it is in.
    pub limits: Option<Limits>,
    /// What its output is rotated by; `None`: it goes into plain files.
    pub output: Option<Output>,
    /// How the container is kept apart from others.
    pub confinement: Confinement,
    /// Of the container that it is nested in, those namespaces are its own, too.
    pub shares: Namespaces,
    /// Whose those are.
    pub shares_with: Whom,
    /// Where the command executor is to start its task otherwise than as a child like itself.
    pub task: Option<TaskPlan>,
    /// The image that the container is to run on: what is in it is not known yet.
    pub image: Option<ImageWish>,
    /// Whom an image names, instead of `user`.
    pub image_user: Option<User>,
    /// Persistent volumes that the container has.
    pub kept: Vec<Kept>,
}

impl Plan {
    /// Whether it, or its task, is to have users of its own.
    pub(super) fn has_users(&self) -> bool {
        self.confinement.has_users || self.task.as_ref().is_some_and(|task| task.confinement.has_users)
    }
}

/// A process of the container that another is nested in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Whom {
    /// Its init.
    #[default]
    First,
    /// Its task, which has namespaces that its executor has not.
    Task,
}

/// What holds for a command task but not for its executor, which needs the machine's files and its rights to start it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskPlan {
    /// Beyond that of its executor. A mount namespace is always new where there is anything to mount.
    pub confinement: Confinement,
    /// Below the task's own variables; those of an image.
    pub environment: BTreeMap<String, String>,
    /// Instead of the task's own; the entry point of an image.
    pub command: Option<v1::CommandInfo>,
}

/// A container's output, when it goes by way of the logger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The logger's.
    pub folder: PathBuf,
    pub settings: Settings,
}

/// What a framework asked for and cannot have. Becomes the message of TASK_FAILED.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("executor id '{id}': {why}")]
    ExecutorId { id: String, why: BadId },
    #[error("the executor has no command")]
    NoCommand,
    #[error("Shell command is not specified")]
    NoShellCommand,
    #[error("Executable is not specified")]
    NoExecutable,
    #[error("{field} contains a NUL byte")]
    Nul { field: &'static str },
    #[error("environment variable name '{name}' is empty or contains '=' or a NUL byte")]
    VariableName { name: String },
    #[error("environment variable '{name}': only secrets given by value are supported")]
    Secret { name: String },
    #[error(transparent)]
    NoExecutableInImage(#[from] NoExecutable),
    #[error("environment variable {0}")]
    Logger(#[from] SettingsError),
    #[error("{field} is not supported")]
    Unsupported { field: &'static str },
    #[error("{field} cannot be had: {why}")]
    Cannot { field: &'static str, why: String },
}

/// Searched for a program when the framework gives no other: the agent's own environment is not inherited.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where the sandboxes of an executor's runs are (Mesos' tree, which its users' tools know).
pub fn executor_directory(
    work_dir: &Path,
    agent: &AgentId,
    framework: &FrameworkId,
    executor: &str,
) -> PathBuf {
    let parts = ["slaves", agent.as_str(), "frameworks", framework.as_str(), "executors", executor];
    parts.iter().fold(work_dir.to_owned(), |path, part| path.join(part))
}

/// What the agent keeps of a container beside its sandbox, as long as it owes anything for it.
pub fn runtime_directory(work_dir: &Path, container_id: &ContainerId) -> PathBuf {
    nested::folder(&runtime_directories(work_dir), container_id)
}

/// Where all of them are.
pub fn runtime_directories(work_dir: &Path) -> PathBuf {
    work_dir.join("containers")
}

/// Where the logger finds what it is to write.
pub fn logger_directory(work_dir: &Path) -> PathBuf {
    work_dir.join("logger")
}

pub fn plan(agent: &Agent, request: &Request<'_>) -> Result<Plan, PlanError> {
    let executor = request.executor;
    let has_mounts = agent.isolation.filesystem;
    let (kept, volumes) = kept::given(&agent.work_dir, request.shares, has_mounts)?;
    let Given { container, task } =
        given(&agent.isolation, executor.container.as_ref(), volumes, request.task_command.is_some())?;
    let built_in = (executor.r#type() == v1::executor_info::Type::Default)
        .then(|| super::built_in::default_executor(agent));
    let command = executor.command.as_ref().or(built_in.as_ref()).ok_or(PlanError::NoCommand)?;
    let executor_id = &executor.executor_id.value;
    // The master has checked it; but it becomes a path here, and what follows runs as root.
    check_id(executor_id).map_err(|why| PlanError::ExecutorId { id: executor_id.clone(), why })?;
    let runs =
        executor_directory(&agent.work_dir, &agent.agent_id, request.framework_id, executor_id).join("runs");
    let sandbox = runs.join(request.container_id.as_str());
    let environment = environment(agent, request, command, &sandbox)?;
    let own_user = command.user.as_deref().filter(|user| !user.is_empty());
    let image = ImageWish::of(agent, request, command, own_user.is_some());
    let (programs, args) = match (&image, request.task_command) {
        // What it is to run, and where that is searched for, the image has a say in.
        (Some(_), None) => (Vec::new(), Vec::new()),
        _ => program(command, &environment["PATH"])?,
    };
    let settings = agent.logger.map(|usual| usual.with(&environment)).transpose()?;
    let output = settings.map(|settings| Output { folder: logger_directory(&agent.work_dir), settings });
    let user = own_user.unwrap_or(request.framework_user);
    let seen = if image.is_some() { SANDBOX.into() } else { sandbox.clone() };
    Ok(Plan {
        container_id: request.container_id.clone(),
        latest: Some(runs.join("latest")),
        nested_in: None,
        runtime: runtime_directory(&agent.work_dir, request.container_id),
        trusted: seen.clone(),
        seen,
        folder: sandbox.clone(),
        io: terminal(executor.container.as_ref()).unwrap_or(Io::Files),
        sandbox,
        programs,
        args,
        environment,
        user: agent.switch_user.then(|| user.to_owned()),
        uris: command.uris.clone(),
        output,
        limits: Some(limits(request.shares, &agent.limits, &Overrides::default())),
        confinement: container,
        shares: Namespaces::default(),
        shares_with: Whom::First,
        task: task.map(|confinement| TaskPlan { confinement, ..TaskPlan::default() }),
        image,
        image_user: None,
        kept,
    })
}

/// What every Mesos executor finds in its environment (names and forms: Mesos' docs/executor-http-api.md), the operator's
/// variables below it, the framework's own above.
fn environment(
    agent: &Agent,
    request: &Request<'_>,
    command: &v1::CommandInfo,
    sandbox: &Path,
) -> Result<BTreeMap<String, String>, PlanError> {
    let executor = request.executor;
    let grace_ms = match &executor.shutdown_grace_period {
        Some(period) => period.nanoseconds.max(0).cast_unsigned() / 1_000_000,
        None => agent.shutdown_grace_ms,
    };
    let sandbox = sandbox.display().to_string();
    let mut environment = agent.environment.clone();
    let mut set = |name: &str, value: String| environment.insert(name.to_owned(), value);
    set("LIBPROCESS_IP", agent.address.ip().to_string());
    // An executor that listens must not take the agent's port.
    set("LIBPROCESS_PORT", "0".to_owned());
    set("MESOS_AGENT_ENDPOINT", agent.address.to_string());
    set("MESOS_CHECKPOINT", u8::from(request.checkpoint).to_string());
    set("MESOS_DIRECTORY", sandbox.clone());
    set("MESOS_EXECUTOR_ID", executor.executor_id.value.clone());
    set("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", show_ms(grace_ms));
    set("MESOS_FRAMEWORK_ID", request.framework_id.to_string());
    set("MESOS_HTTP_COMMAND_EXECUTOR", "1".to_owned());
    set("MESOS_SANDBOX", sandbox);
    set("MESOS_SLAVE_ID", agent.agent_id.to_string());
    set("MESOS_SLAVE_PID", format!("slave(1)@{}", agent.address));
    if request.checkpoint {
        set("MESOS_RECOVERY_TIMEOUT", show_ms(agent.recovery_timeout_ms));
        set("MESOS_SUBSCRIPTION_BACKOFF_MAX", show_ms(agent.subscription_backoff_max_ms));
    }
    for variable in command.environment.iter().flat_map(|e| &e.variables) {
        environment.insert(variable.name.clone(), variable_value(variable)?);
    }
    environment.entry("PATH".to_owned()).or_insert_with(|| PATH.to_owned());
    for (name, value) in &environment {
        check_variable(name, value)?;
    }
    Ok(environment)
}

/// What the kernel could not hand over as `NAME=value`.
pub(crate) fn check_variable(name: &str, value: &str) -> Result<(), PlanError> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(PlanError::VariableName { name: name.to_owned() });
    }
    if value.contains('\0') {
        return Err(PlanError::Nul { field: "the value of an environment variable" });
    }
    Ok(())
}

/// Of a variable or of a secret that is given by its value.
pub(crate) fn variable_value(variable: &v1::environment::Variable) -> Result<String, PlanError> {
    let refused = || PlanError::Secret { name: variable.name.clone() };
    if variable.r#type() != v1::environment::variable::Type::Secret {
        return Ok(variable.value().to_owned());
    }
    let value = variable.secret.as_ref().and_then(|secret| secret.value.as_ref()).ok_or_else(refused)?;
    String::from_utf8(value.data.to_vec()).map_err(|_| refused())
}

/// The files to try and the arguments: a shell line, or a program that is searched for as `execvp` does.
pub(crate) fn program(
    command: &v1::CommandInfo,
    path: &str,
) -> Result<(Vec<CString>, Vec<CString>), PlanError> {
    let text = |field: &'static str, text: &str| CString::new(text).map_err(|_| PlanError::Nul { field });
    let value = command.value.as_deref().filter(|value| !value.is_empty());
    if command.shell() {
        let line = text("command.value", value.ok_or(PlanError::NoShellCommand)?)?;
        return Ok((vec![c"/bin/sh".into()], vec![c"sh".into(), c"-c".into(), line]));
    }
    let value = value.ok_or(PlanError::NoExecutable)?;
    let programs = if value.contains('/') {
        vec![text("command.value", value)?]
    } else {
        // An empty part of PATH is the current folder, as it has always been.
        let folders = path.split(':').map(|folder| if folder.is_empty() { "." } else { folder });
        folders.map(|folder| text("command.value", &format!("{folder}/{value}"))).collect::<Result<_, _>>()?
    };
    let args: Vec<_> =
        command.arguments.iter().map(|arg| text("command.arguments", arg)).collect::<Result<_, _>>()?;
    // The first argument is the program's own name, by Mesos' convention given by the framework.
    let args = if args.is_empty() { vec![text("command.value", value)?] } else { args };
    Ok((programs, args))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use api::v1::environment::{Variable, variable::Type};

    pub(in crate::containerizer) fn agent() -> Agent {
        Agent {
            work_dir: "/var/lib/mesos/agents/0".into(),
            agent_id: "c90d5607-S0".into(),
            address: "127.0.0.1:5050".parse().expect("an address"),
            program: "/usr/bin/ingot-agent".into(),
            switch_user: true,
            shutdown_grace_ms: 5000,
            recovery_timeout_ms: 900_000,
            subscription_backoff_max_ms: 2000,
            environment: BTreeMap::new(),
            limits: LimitPolicy::default(),
            logger: None,
            isolation: Arc::default(),
        }
    }

    fn executor(command: v1::CommandInfo) -> v1::ExecutorInfo {
        let executor_id = v1::ExecutorId { value: "e1".to_owned() };
        v1::ExecutorInfo { executor_id, command: Some(command), ..v1::ExecutorInfo::default() }
    }

    pub(in crate::containerizer) fn shell(line: &str) -> v1::CommandInfo {
        v1::CommandInfo { value: Some(line.to_owned()), ..v1::CommandInfo::default() }
    }

    fn plan_of(agent: &Agent, executor: &v1::ExecutorInfo, checkpoint: bool) -> Result<Plan, PlanError> {
        let (container_id, framework_id) = ("705c2cc1".into(), "c90d5607-0002".into());
        let request = Request {
            container_id: &container_id,
            framework_id: &framework_id,
            framework_user: "nobody",
            checkpoint,
            executor,
            task_command: None,
            shares: &[],
        };
        plan(agent, &request)
    }

    fn variable(name: &str, value: &str) -> Variable {
        Variable { name: name.to_owned(), value: Some(value.to_owned()), ..Variable::default() }
    }

    fn lines(environment: &BTreeMap<String, String>) -> Vec<String> {
        environment.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    const RUN: &str =
        "/var/lib/mesos/agents/0/slaves/c90d5607-S0/frameworks/c90d5607-0002/executors/e1/runs/705c2cc1";

    /// The lines that a real Mesos 1.11 gave an executor, less what its shell and its Python added.
    #[test]
    fn the_environment_is_that_of_mesos() {
        let plan = plan_of(&agent(), &executor(shell("./run")), false).expect("it can be run");
        let expect = [
            "LIBPROCESS_IP=127.0.0.1".to_owned(),
            "LIBPROCESS_PORT=0".to_owned(),
            "MESOS_AGENT_ENDPOINT=127.0.0.1:5050".to_owned(),
            "MESOS_CHECKPOINT=0".to_owned(),
            format!("MESOS_DIRECTORY={RUN}"),
            "MESOS_EXECUTOR_ID=e1".to_owned(),
            "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD=5secs".to_owned(),
            "MESOS_FRAMEWORK_ID=c90d5607-0002".to_owned(),
            "MESOS_HTTP_COMMAND_EXECUTOR=1".to_owned(),
            format!("MESOS_SANDBOX={RUN}"),
            "MESOS_SLAVE_ID=c90d5607-S0".to_owned(),
            "MESOS_SLAVE_PID=slave(1)@127.0.0.1:5050".to_owned(),
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        ];
        assert_eq!(lines(&plan.environment), expect);
        assert_eq!(plan.sandbox, Path::new(RUN));
        assert_eq!(plan.latest.as_deref(), Some(&*Path::new(RUN).with_file_name("latest")));
        assert_eq!(plan.user.as_deref(), Some("nobody"));
    }

    #[test]
    fn a_checkpointing_framework_and_an_executors_own_grace_are_told() {
        let mut executor = executor(shell("./run"));
        executor.shutdown_grace_period = Some(v1::DurationInfo { nanoseconds: 90_000_000_000 });
        let environment = plan_of(&agent(), &executor, true).expect("it can be run").environment;
        assert_eq!(environment["MESOS_CHECKPOINT"], "1");
        assert_eq!(environment["MESOS_RECOVERY_TIMEOUT"], "15mins");
        assert_eq!(environment["MESOS_SUBSCRIPTION_BACKOFF_MAX"], "2secs");
        assert_eq!(environment["MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD"], "90secs");
    }

    #[test]
    fn the_framework_overrides_mesos_which_overrides_the_operator() {
        let mut agent = agent();
        for name in ["A", "B", "MESOS_SLAVE_ID"] {
            agent.environment.insert(name.to_owned(), "operator".to_owned());
        }
        let mut command = shell("true");
        let variables =
            vec![variable("B", "framework"), variable("MESOS_DIRECTORY", "/mine"), variable("PATH", "/p")];
        command.environment = Some(v1::Environment { variables });
        let environment = plan_of(&agent, &executor(command), false).expect("it can be run").environment;
        let expect =
            [("A", "operator"), ("B", "framework"), ("MESOS_SLAVE_ID", "c90d5607-S0"), ("PATH", "/p")];
        for (name, value) in expect.into_iter().chain([("MESOS_DIRECTORY", "/mine"), ("MESOS_SANDBOX", RUN)])
        {
            assert_eq!(environment[name], value, "{name}");
        }
    }

    #[test]
    fn output_is_rotated_as_the_operator_says_or_the_task() {
        let agent = Agent { logger: Some(Settings::default()), ..agent() };
        let with = |name: &str| {
            let variables = vec![variable(name, "1MB")];
            let environment = Some(v1::Environment { variables });
            plan_of(&agent, &executor(v1::CommandInfo { environment, ..shell("true") }), false)
        };
        let output =
            with("CONTAINER_LOGGER_MAX_STDERR_SIZE").expect("it can be run").output.expect("a logger");
        assert_eq!(output.folder, Path::new("/var/lib/mesos/agents/0/logger"));
        assert_eq!(output.settings.stderr.size_max_bytes, 1 << 20);
        let refused = with("CONTAINER_LOGGER_SIZE").expect_err("no such setting").to_string();
        let expect = "environment variable CONTAINER_LOGGER_SIZE is not a setting of the container logger";
        assert_eq!(refused, expect);
    }

    #[test]
    fn a_program_is_a_shell_line_a_path_or_searched_for() {
        let check = |shell: bool, value: &str, arguments: &[&str], programs: &[&str], args: &[&str]| {
            let arguments = arguments.iter().map(|&a| a.to_owned()).collect();
            let value = Some(value.to_owned());
            let mut command =
                v1::CommandInfo { shell: Some(shell), value, arguments, ..v1::CommandInfo::default() };
            command.environment = Some(v1::Environment { variables: vec![variable("PATH", "/a::/b")] });
            let plan = plan_of(&agent(), &executor(command), false).expect("it can be run");
            let texts = |texts: &[CString]| {
                texts.iter().map(|t| t.to_string_lossy().into_owned()).collect::<Vec<_>>()
            };
            assert_eq!(
                (texts(&plan.programs), texts(&plan.args)),
                (
                    programs.iter().map(|&p| p.to_owned()).collect(),
                    args.iter().map(|&a| a.to_owned()).collect()
                )
            );
        };
        check(true, "echo $A | wc", &["ignored"], &["/bin/sh"], &["sh", "-c", "echo $A | wc"]);
        check(false, "/bin/echo", &["echo", "a b"], &["/bin/echo"], &["echo", "a b"]);
        check(false, "./run", &[], &["./run"], &["./run"]);
        check(false, "echo", &["echo"], &["/a/echo", "./echo", "/b/echo"], &["echo"]);
    }

    #[test]
    fn what_cannot_be_given_is_refused_by_name() {
        let check = |executor: &v1::ExecutorInfo, expect: &str| {
            let error = plan_of(&agent(), executor, false).expect_err(expect);
            assert_eq!(error.to_string(), expect);
        };
        let with_variable = |variable| {
            let environment = Some(v1::Environment { variables: vec![variable] });
            executor(v1::CommandInfo { environment, ..shell("true") })
        };
        let executor_id = v1::ExecutorId { value: "..".to_owned() };
        let escaping = v1::ExecutorInfo { executor_id, ..executor(shell("true")) };
        check(&escaping, "executor id '..': '.' and '..' are disallowed");
        check(&v1::ExecutorInfo { command: None, ..executor(shell("")) }, "the executor has no command");
        check(&executor(shell("")), "Shell command is not specified");
        check(&executor(v1::CommandInfo { shell: Some(false), ..shell("") }), "Executable is not specified");
        check(&executor(shell("echo \0")), "command.value contains a NUL byte");
        let bad_name = "environment variable name 'A=B' is empty or contains '=' or a NUL byte";
        check(&with_variable(variable("A=B", "")), bad_name);
        check(
            &with_variable(variable("A", "\0")),
            "the value of an environment variable contains a NUL byte",
        );
        let secret = Variable { r#type: Some(Type::Secret.into()), ..variable("A", "not this") };
        check(&with_variable(secret), "environment variable 'A': only secrets given by value are supported");
        let hostname = Some("h".to_owned());
        let container = Some(v1::ContainerInfo { hostname, ..mesos_container() });
        check(
            &v1::ExecutorInfo { container, ..executor(shell("true")) },
            "container.hostname cannot be had: it needs an agent that runs as root, with filesystem/linux in --isolation",
        );
    }

    fn mesos_container() -> v1::ContainerInfo {
        v1::ContainerInfo { r#type: v1::container_info::Type::Mesos.into(), ..v1::ContainerInfo::default() }
    }

    #[test]
    fn a_plain_mesos_container_is_what_every_executor_gets_anyway() {
        let container = Some(mesos_container());
        assert!(plan_of(&agent(), &v1::ExecutorInfo { container, ..executor(shell("true")) }, false).is_ok());
    }

    #[test]
    fn the_commands_user_goes_before_the_frameworks_and_neither_counts_without_root() {
        let command = v1::CommandInfo { user: Some("daemon".to_owned()), ..shell("true") };
        let user =
            |agent: &Agent| plan_of(agent, &executor(command.clone()), false).expect("it can be run").user;
        assert_eq!(user(&agent()).as_deref(), Some("daemon"));
        assert_eq!(user(&Agent { switch_user: false, ..agent() }), None);
    }

    #[test]
    fn a_default_executor_is_the_agents_own() {
        let command = None;
        let kind = Some(v1::executor_info::Type::Default.into());
        let info = v1::ExecutorInfo { command, r#type: kind, ..executor(shell("true")) };
        let plan = plan_of(&agent(), &info, false).expect("it can be run");
        assert_eq!(plan.programs, [CString::from(c"/usr/bin/ingot-agent")]);
        assert_eq!(plan.args, [c"ingot-agent", c"default-executor"].map(CString::from));
        let custom = v1::ExecutorInfo { r#type: None, ..info };
        assert_eq!(plan_of(&agent(), &custom, false), Err(PlanError::NoCommand));
    }
}
