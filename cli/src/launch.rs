//! What `ingot run` decides: the framework of one command. A core: it is fed what the master said and leaves what to do
//! about it; [`crate::run`] does it.

use api::v1;
use api::v1::TaskState;
use client::{is_end, scalar, unreserved_milli};

/// The command and what it needs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spec {
    pub(crate) task_id: String,
    pub(crate) name: String,
    /// One word is a shell's command line; several are a program and its arguments.
    pub(crate) command: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) cpus_milli: u64,
    pub(crate) mem_mib: u64,
    pub(crate) disk_mib: u64,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    Launch {
        offer_id: v1::OfferId,
        task: Box<v1::TaskInfo>,
    },
    Decline(v1::OfferId),
    Suppress,
    Kill(v1::TaskId),
    /// Ask for the task's state.
    Reconcile(v1::TaskId, v1::AgentId),
    /// Tell the user.
    Say(String),
    /// The task has ended; exit with this code.
    Exit(u8),
}

/// One command's life.
#[derive(Debug)]
pub(crate) struct Launch {
    spec: Spec,
    /// The agent it was launched on.
    agent_id: Option<v1::AgentId>,
    state: Option<TaskState>,
    killed: bool,
    /// The master was asked for the task's state and has not answered.
    asked: bool,
}

/// As shells tell an interrupted command's end: 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;

impl Launch {
    pub(crate) fn new(spec: Spec) -> Self {
        Self { spec, agent_id: None, state: None, killed: false, asked: false }
    }

    /// Subscribed, perhaps not for the first time.
    pub(crate) fn subscribed(&mut self, effects: &mut Vec<Effect>) {
        if self.agent_id.is_some() {
            self.asked = true;
            effects.push(Effect::Suppress);
            self.ask_again(effects);
        }
    }

    /// A while has passed. A master that is new says nothing of a task while its agent may come back; nor does it pass a
    /// kill on.
    pub(crate) fn ask_again(&self, effects: &mut Vec<Effect>) {
        if let Some(agent_id) = self.agent_id.as_ref().filter(|_| self.asked) {
            effects.push(Effect::Reconcile(self.task_id(), agent_id.clone()));
        }
    }

    pub(crate) fn offers(&mut self, offers: Vec<v1::Offer>, effects: &mut Vec<Effect>) {
        for offer in offers {
            if self.agent_id.is_some() || !self.fits(&offer) {
                effects.push(Effect::Decline(offer.id));
                continue;
            }
            self.agent_id = Some(offer.agent_id.clone());
            effects.push(Effect::Say(format!("{} goes to {}", self.spec.task_id, offer.hostname)));
            effects.push(Effect::Launch { offer_id: offer.id, task: Box::new(self.task(offer.agent_id)) });
            effects.push(Effect::Suppress);
        }
    }

    pub(crate) fn update(&mut self, status: &v1::TaskStatus, effects: &mut Vec<Effect>) {
        let state = status.state();
        if status.task_id.value != self.spec.task_id {
            return;
        }
        if std::mem::take(&mut self.asked) && self.killed && !is_end(state) {
            effects.push(Effect::Kill(self.task_id()));
        }
        if self.state == Some(state) {
            return; // Told again.
        }
        self.state = Some(state);
        let message = status.message.as_deref().filter(|it| !it.is_empty());
        let message = message.map_or_else(String::new, |it| format!(": {it}"));
        effects.push(Effect::Say(format!("{} {}{message}", self.spec.task_id, state.as_str_name())));
        if is_end(state) {
            effects.push(Effect::Exit(self.exit_code(state, status.message.as_deref().unwrap_or_default())));
        }
    }

    /// The user wants it to end. Not launched yet, there is nothing to wait for.
    pub(crate) fn interrupt(&mut self, effects: &mut Vec<Effect>) {
        if self.agent_id.is_none() || self.killed {
            effects.push(Effect::Exit(INTERRUPTED));
        } else {
            self.killed = true;
            effects
                .push(Effect::Say(format!("killing {} (once more: do not wait for it)", self.spec.task_id)));
            effects.push(Effect::Kill(self.task_id()));
        }
    }

    /// What is waited for, while it is not launched.
    pub(crate) fn wish(&self) -> Option<String> {
        let Spec { cpus_milli, mem_mib, disk_mib, .. } = self.spec;
        let disk = if disk_mib > 0 { format!(", {disk_mib} MiB of disk") } else { String::new() };
        let wish =
            || format!("waiting for an offer of {} cpus, {mem_mib} MiB{disk}", cpus_milli as f64 / 1_000.0);
        self.agent_id.is_none().then(wish)
    }

    fn task_id(&self) -> v1::TaskId {
        v1::TaskId { value: self.spec.task_id.clone() }
    }

    fn resources(&self) -> Vec<v1::Resource> {
        let Spec { cpus_milli, mem_mib, disk_mib, .. } = self.spec;
        let wanted = [("cpus", cpus_milli), ("mem", mem_mib * 1_000), ("disk", disk_mib * 1_000)];
        wanted.into_iter().filter(|(_, milli)| *milli > 0).map(|(name, milli)| scalar(name, milli)).collect()
    }

    fn fits(&self, offer: &v1::Offer) -> bool {
        let enough = |it: &v1::Resource| {
            unreserved_milli(std::slice::from_ref(it), &it.name)
                <= unreserved_milli(&offer.resources, &it.name)
        };
        self.resources().iter().all(enough)
    }

    fn task(&self, agent_id: v1::AgentId) -> v1::TaskInfo {
        let variable = |(name, value): &(String, String)| v1::environment::Variable {
            name: name.clone(),
            value: Some(value.clone()),
            ..Default::default()
        };
        let shell = self.spec.command.len() == 1;
        let command = v1::CommandInfo {
            shell: Some(shell),
            value: self.spec.command.first().cloned(),
            arguments: if shell { Vec::new() } else { self.spec.command.clone() },
            environment: Some(v1::Environment {
                variables: self.spec.environment.iter().map(variable).collect(),
            }),
            ..Default::default()
        };
        v1::TaskInfo {
            name: self.spec.name.clone(),
            task_id: self.task_id(),
            agent_id,
            resources: self.resources(),
            command: Some(command),
            ..Default::default()
        }
    }

    fn exit_code(&self, state: TaskState, message: &str) -> u8 {
        match state {
            TaskState::TaskFinished => 0,
            _ if self.killed => INTERRUPTED,
            _ => told_exit(message).unwrap_or(1),
        }
    }
}

/// The exit that a command executor tells in a status's message: the v1 API has no field for it.
fn told_exit(message: &str) -> Option<u8> {
    if let Some((_, rest)) = message.split_once("exited with status ") {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        return digits.parse().ok();
    }
    let (_, signal) = message.split_once("terminated with signal ")?;
    let name = signal.split(|c: char| !c.is_ascii_alphanumeric() && c != ' ').next()?.trim();
    if let Ok(number) = name.parse::<u8>() {
        return 128_u8.checked_add(number);
    }
    // As strsignal(3) and signal(7) name the signals that end tasks.
    const SIGNALS: &[(u8, &str, &str)] = &[
        (1, "Hangup", "SIGHUP"),
        (2, "Interrupt", "SIGINT"),
        (3, "Quit", "SIGQUIT"),
        (4, "Illegal instruction", "SIGILL"),
        (6, "Aborted", "SIGABRT"),
        (7, "Bus error", "SIGBUS"),
        (8, "Floating point exception", "SIGFPE"),
        (9, "Killed", "SIGKILL"),
        (11, "Segmentation fault", "SIGSEGV"),
        (13, "Broken pipe", "SIGPIPE"),
        (14, "Alarm clock", "SIGALRM"),
        (15, "Terminated", "SIGTERM"),
    ];
    SIGNALS.iter().find(|(_, text, symbol)| name == *text || name == *symbol).map(|(number, ..)| 128 + number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch() -> Launch {
        let command = vec!["ls".to_owned(), "-l".to_owned()];
        Launch::new(Spec {
            task_id: "t".to_owned(),
            command,
            cpus_milli: 100,
            mem_mib: 32,
            ..Spec::default()
        })
    }

    fn offer(id: &str, cpus_milli: u64) -> v1::Offer {
        v1::Offer {
            id: v1::OfferId { value: id.to_owned() },
            agent_id: v1::AgentId { value: "a".to_owned() },
            hostname: "h".to_owned(),
            resources: vec![scalar("cpus", cpus_milli), scalar("mem", 64_000)],
            ..Default::default()
        }
    }

    fn status(state: TaskState, message: &str) -> v1::TaskStatus {
        let task_id = v1::TaskId { value: "t".to_owned() };
        let mut status = v1::TaskStatus { task_id, message: Some(message.to_owned()), ..Default::default() };
        status.set_state(state);
        status
    }

    #[test]
    fn the_first_offer_that_fits_is_taken_and_the_others_go_back() {
        let mut launch = launch();
        let mut effects = Vec::new();
        assert!(launch.wish().expect("nothing runs").contains("0.1 cpus, 32 MiB"));
        launch.offers(vec![offer("small", 99), offer("good", 100), offer("more", 4_000)], &mut effects);
        let decline = |id: &str| Effect::Decline(v1::OfferId { value: id.to_owned() });
        assert_eq!((&effects[0], &effects[4]), (&decline("small"), &decline("more")));
        let Effect::Launch { offer_id, task } = &effects[2] else { panic!("{effects:?}") };
        assert_eq!(offer_id.value, "good");
        let command = task.command.as_ref().expect("a command");
        assert_eq!(
            (command.shell, &command.arguments[..]),
            (Some(false), &["ls".to_owned(), "-l".to_owned()][..])
        );
        assert_eq!(task.resources.len(), 2, "no disk was asked for");
        assert_eq!(launch.wish(), None);
    }

    #[track_caller]
    fn check_exit(state: TaskState, message: &str, code: u8) {
        let mut effects = Vec::new();
        launch().update(&status(state, message), &mut effects);
        assert_eq!(effects.last(), Some(&Effect::Exit(code)), "{state:?} {message}");
    }

    #[test]
    fn a_command_s_exit_becomes_ours() {
        check_exit(TaskState::TaskFinished, "Command exited with status 0", 0);
        check_exit(TaskState::TaskFailed, "Command exited with status 3", 3);
        check_exit(TaskState::TaskFailed, "Command terminated with signal Killed", 137);
        check_exit(
            TaskState::TaskFailed,
            "Command terminated with signal Segmentation fault (core dumped)",
            139,
        );
        check_exit(TaskState::TaskKilled, "Command terminated with signal SIGTERM", 143);
        check_exit(TaskState::TaskFailed, "Command terminated with signal 9", 137);
        check_exit(TaskState::TaskFailed, "Executor terminated", 1);
        check_exit(TaskState::TaskLost, "", 1);
    }

    #[test]
    fn an_interrupt_kills_and_a_second_does_not_wait() {
        let mut launch = launch();
        let mut effects = Vec::new();
        launch.offers(vec![offer("o", 4_000)], &mut effects);
        effects.clear();
        launch.interrupt(&mut effects);
        assert_eq!(effects.last(), Some(&Effect::Kill(v1::TaskId { value: "t".to_owned() })));
        launch.update(
            &status(TaskState::TaskKilled, "Command terminated with signal Terminated"),
            &mut effects,
        );
        assert_eq!(effects.last(), Some(&Effect::Exit(INTERRUPTED)));
        effects.clear();
        launch.interrupt(&mut effects);
        assert_eq!(effects, [Effect::Exit(INTERRUPTED)]);
    }

    #[test]
    fn a_new_master_is_asked_until_it_answers() {
        let mut launch = launch();
        let mut effects = Vec::new();
        launch.subscribed(&mut effects);
        launch.ask_again(&mut effects);
        assert_eq!(effects, [], "there is no task yet");
        launch.offers(vec![offer("o", 4_000)], &mut effects);
        launch.update(&status(TaskState::TaskRunning, ""), &mut effects);
        effects.clear();
        launch.ask_again(&mut effects);
        assert_eq!(effects, [], "the state is known");
        let task_id = v1::TaskId { value: "t".to_owned() };
        let ask = Effect::Reconcile(task_id.clone(), v1::AgentId { value: "a".to_owned() });
        launch.subscribed(&mut effects);
        launch.ask_again(&mut effects);
        assert_eq!(effects, [Effect::Suppress, ask.clone(), ask]);
        launch.interrupt(&mut effects);
        effects.clear();
        launch.update(&status(TaskState::TaskRunning, ""), &mut effects);
        launch.ask_again(&mut effects);
        assert_eq!(effects, [Effect::Kill(task_id)], "the kill may have gone nowhere");
    }

    #[test]
    fn states_told_twice_are_shown_once() {
        let mut launch = launch();
        let mut effects = Vec::new();
        launch.update(&status(TaskState::TaskRunning, ""), &mut effects);
        launch.update(&status(TaskState::TaskRunning, ""), &mut effects);
        assert_eq!(effects, [Effect::Say("t TASK_RUNNING".to_owned())]);
    }
}
