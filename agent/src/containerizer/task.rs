//! What the agent leaves for a command executor whose task is to be started otherwise than as a child like itself: a file
//! beside the sandbox, out of the task's reach, with steps for an init that becomes the task. The executor adds what it
//! alone knows: the program.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use api::v1;
use serde::{Deserialize, Serialize};

use super::order::{self, Numbers, User};
use super::plan::{Plan, TaskPlan};
use super::steps;
use super::users::Users;

/// Names the file in the executor's environment.
pub const VARIABLE: &str = "INGOT_TASK_LAUNCH";
const NAME: &str = "task";

/// The file's content, as JSON. Both who writes and who reads it is this program.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct TaskLaunch {
    /// A spec that lacks its last step, base64.
    steps: String,
    /// The same for what is run beside the task, in its namespaces.
    #[serde(default)]
    steps_beside: String,
    /// Those that the task makes for itself, `CLONE_NEW*`.
    #[serde(default)]
    namespaces: i32,
    /// Whom the task has for users.
    #[serde(default)]
    users: Option<Users>,
    /// Below the task's own variables.
    defaults: BTreeMap<String, String>,
    /// Above them.
    environment: BTreeMap<String, String>,
    command: Option<Command>,
}

/// A [`v1::CommandInfo`] in so far as it says what to run.
#[derive(Debug, Serialize, Deserialize)]
struct Command {
    shell: bool,
    value: Option<String>,
    arguments: Vec<String>,
}

impl TaskLaunch {
    fn of(plan: &Plan, task: &TaskPlan, user: Option<User<'_>>, users: Option<Users>) -> Self {
        use base64::Engine;
        let number = Numbers::of(false, false, users.is_some()).users;
        let steps = steps::encode(&order::task_steps(plan, task, user, number));
        let mut environment = BTreeMap::new();
        if let Some(root) = &task.confinement.root {
            environment.insert("MESOS_SANDBOX".to_owned(), root.sandbox.display().to_string());
        }
        let command = task.command.as_ref().map(|command| Command {
            shell: command.shell(),
            value: command.value.clone(),
            arguments: command.arguments.clone(),
        });
        let encode = |steps| base64::engine::general_purpose::STANDARD.encode(steps);
        let (steps, beside) = (encode(steps), steps::encode(&order::beside_steps(plan, task, user, number)));
        let steps_beside = encode(beside);
        // The flags of namespaces are below bit 31.
        let namespaces = order::task_namespaces(task).flags() as i32;
        Self {
            steps,
            steps_beside,
            namespaces,
            users,
            defaults: task.environment.clone(),
            environment,
            command,
        }
    }

    pub fn read(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }

    /// Makes the task what it is to be: the agent's command where it has one, and variables.
    pub fn adapt(&self, task: &mut v1::TaskInfo) {
        let command = task.command.get_or_insert_default();
        if let Some(Command { shell, value, arguments }) = &self.command {
            command.shell = Some(*shell);
            command.value.clone_from(value);
            command.arguments.clone_from(arguments);
        }
        let variable = |(name, value): (&String, &String)| v1::environment::Variable {
            name: name.clone(),
            value: Some(value.clone()),
            ..v1::environment::Variable::default()
        };
        // Of two of one name the later one counts.
        let variables = &mut command.environment.get_or_insert_default().variables;
        variables.splice(..0, self.defaults.iter().map(variable));
        variables.extend(self.environment.iter().map(variable));
    }

    /// The whole spec. `None`: it is damaged.
    pub fn spec(&self, exec: &steps::Exec) -> Option<Vec<u8>> {
        completed(&self.steps, exec)
    }

    /// Of a program that is run beside the task, in its namespaces.
    pub fn spec_beside(&self, exec: &steps::Exec) -> Option<Vec<u8>> {
        completed(&self.steps_beside, exec)
    }

    /// `None`: the machine's.
    pub fn users(&self) -> Option<Users> {
        self.users
    }

    /// To be entered by what is run beside the task: `CLONE_NEW*`.
    pub fn namespaces(&self) -> i32 {
        self.namespaces
    }
}

fn completed(steps: &str, exec: &steps::Exec) -> Option<Vec<u8>> {
    use base64::Engine;
    let steps = base64::engine::general_purpose::STANDARD.decode(steps).ok()?;
    Some(steps::completed(steps, exec))
}

/// Writes it where the executor is told to find it, readable to none but the agent's user.
pub(super) fn write(
    plan: &Plan,
    task: &TaskPlan,
    user: Option<User<'_>>,
    users: Option<Users>,
) -> io::Result<()> {
    let content = serde_json::to_vec(&TaskLaunch::of(plan, task, user, users))?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).open(path(plan))?.write_all(&content)
}

fn path(plan: &Plan) -> std::path::PathBuf {
    plan.runtime.join(NAME)
}

/// What the executor is told.
pub(super) fn variable(plan: &Plan) -> (String, String) {
    (VARIABLE.to_owned(), path(plan).display().to_string())
}
