//! What init does in which order. Isolation is mostly a matter of that: each step needs rights, names or files that a later
//! one takes away. Decides; takes no step.

use std::ffi::CString;
use std::path::Path;

use super::isolation::confinement::{Capabilities, Confinement, Namespaces};
use super::isolation::mounts::{self, Sandbox};
use super::plan::{Plan, TaskPlan};
use super::spec::KEEP_FD;
use super::steps::{Exec, Step};
use super::streams::Io;

/// include/uapi/linux/sched.h
const CLONE_NEWUSER: u32 = 0x1000_0000;

/// Whom the program runs as, by numbers; those of its own users where it has some.
#[derive(Clone, Copy, Debug)]
pub struct User<'a> {
    pub uid: u32,
    pub gid: u32,
    pub groups: &'a [u32],
}

/// The numbers under which init finds what it enters: those behind the last of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    pub enter: Option<u32>,
    pub users: Option<u32>,
}

impl Numbers {
    /// What there is.
    pub(super) fn of(keeps: bool, enters: bool, has_users: bool) -> Self {
        let enter = KEEP_FD.cast_unsigned() + u32::from(keeps);
        Self { enter: enters.then_some(enter), users: has_users.then_some(enter + u32::from(enters)) }
    }
}

/// For a container's init, which begins in the namespaces of its own. `user`: `None` is who we are.
///
/// Init gets a session before it forks, so that it is found by it where there is no cgroup. What it mounts is there before
/// the program's process is.
///
/// `numbers`: where init finds whom it shares namespaces with, and its users, if they are its own.
///
/// # Panics
/// If a path or a variable holds a NUL, which plans do not.
pub fn steps(plan: &Plan, user: Option<User<'_>>, numbers: Numbers) -> Vec<Step> {
    let Plan { confinement, .. } = plan;
    let flags = plan.shares.flags() as u32;
    let Numbers { enter, users } = numbers;
    let mut steps: Vec<Step> = enter.map(|fd| Step::Enter { fd, flags }).into_iter().collect();
    if enter.is_some() {
        // It was not born in them: what it mounts must not be there for who is entered.
        let own = confinement.namespaces.both(plan.shares);
        steps.extend((own != Namespaces::default()).then(|| Step::Unshare(own.flags())));
    }
    // Or init would keep the file system in use that the agent was started in.
    steps.extend([Step::Chdir(c"/".into()), Step::Session]);
    steps.extend(names(confinement, confinement.namespaces, &sandbox(plan), users));
    steps.push(Step::Fork);
    let has_terminal = matches!(plan.io, Io::Terminal(_)) && plan.task.is_none();
    steps.extend(program(confinement, &plan.folder, has_terminal, user, users));
    let env = plan.environment.iter().map(|(name, value)| text(&format!("{name}={value}")));
    let exec = Exec { programs: plan.programs.clone(), args: plan.args.clone(), env: env.collect() };
    steps.extend([Step::DieWithInit, Step::Signals]);
    steps.extend(last(confinement));
    steps.push(Step::Exec(exec));
    steps
}

/// For an init that a command executor starts, in the executor's namespaces, and that becomes the task: all but the program.
pub fn task_steps(plan: &Plan, task: &TaskPlan, user: Option<User<'_>>, users: Option<u32>) -> Vec<Step> {
    let TaskPlan { confinement, .. } = task;
    let mut steps = Vec::new();
    let own = task_namespaces(task);
    if own != Namespaces::default() {
        steps.push(Step::Unshare(own.flags()));
    }
    steps.extend(names(confinement, own, &Sandbox::of(&plan.sandbox), users));
    let has_terminal = matches!(plan.io, Io::Terminal(_));
    steps.extend(program(confinement, &plan.folder, has_terminal, user, users));
    steps.push(Step::Signals);
    steps.extend(last(confinement));
    steps
}

/// Those that the task makes for itself. A process does not change its own PID namespace: that is the executor's.
pub fn task_namespaces(task: &TaskPlan) -> Namespaces {
    Namespaces { pid: false, ..task.confinement.namespaces }
}

/// For what is run beside such a task, in its namespaces: all but the program.
pub fn beside_steps(plan: &Plan, task: &TaskPlan, user: Option<User<'_>>, users: Option<u32>) -> Vec<Step> {
    let mut steps = program(&task.confinement, &plan.folder, false, user, users);
    steps.push(Step::Signals);
    steps.extend(last(&task.confinement));
    steps
}

/// As init finds it before it mounts anything: who has entered another's root finds it there.
fn sandbox(plan: &Plan) -> Sandbox {
    let of = |trusted: &Path, path: &Path| Sandbox {
        trusted: trusted.to_owned(),
        below: path.strip_prefix(trusted).unwrap_or(Path::new("")).to_owned(),
    };
    match &plan.nested_in {
        Some(outermost) if plan.confinement.root.is_some() => of(outermost, &plan.sandbox),
        Some(_) => of(&plan.trusted, &plan.seen),
        None => Sandbox::of(&plan.sandbox),
    }
}

/// Namespaces in which init is born: those of its own that it does not get beside another's.
pub fn born_in(plan: &Plan) -> Namespaces {
    let Plan { confinement, shares, .. } = plan;
    confinement.namespaces.without(*shares)
}

/// What makes namespaces that are already its own differ from others'.
fn names(confinement: &Confinement, own: Namespaces, sandbox: &Sandbox, users: Option<u32>) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(name) = confinement.hostname.clone().filter(|_| own.uts) {
        steps.push(Step::Hostname(name));
    }
    if own.net {
        steps.push(Step::Loopback);
    }
    if own.mount {
        steps.extend(mounts::steps(confinement, sandbox, users));
    }
    steps
}

/// The process that becomes the program, up to its user: its folder is entered as who we are, limits are raised and
/// capabilities dropped while that may be done, the groups change while they still may, the user last.
fn program(
    confinement: &Confinement,
    folder: &Path,
    has_terminal: bool,
    user: Option<User<'_>>,
    users: Option<u32>,
) -> Vec<Step> {
    let directory = match &confinement.root {
        Some(root) => root.directory.as_ref().unwrap_or(&root.sandbox),
        None => folder,
    };
    // A session of its own, for the terminal and the signals of a group are its business and not init's.
    let mut steps = vec![Step::Session];
    if has_terminal {
        steps.push(Step::Terminal);
    }
    steps.extend([Step::Umask(0o022), Step::Chdir(text(&directory.display().to_string()))]);
    steps.extend(confinement.rlimits.iter().map(|limit| Step::Rlimit(*limit)));
    // From here on it is none of the machine's users, and has no right over anything of the machine.
    steps.extend(users.map(|fd| Step::Enter { fd, flags: CLONE_NEWUSER }));
    // Where it is not promised that no rights are gained, only who has them may install a filter.
    if !confinement.no_new_privileges {
        steps.extend(confinement.seccomp.iter().cloned().map(Step::Seccomp));
    }
    if let Some(capabilities) = confinement.capabilities {
        steps.push(Step::Bounding(capabilities.bounding));
        if user.is_some() && capabilities.effective.is_some() {
            steps.push(Step::KeepCapabilities);
        }
    }
    if let Some(User { uid, gid, groups }) = user {
        steps.extend([Step::Groups(groups.to_vec()), Step::Gid(gid), Step::Uid(uid)]);
    }
    if let Some(Capabilities { effective: Some(effective), bounding }) = confinement.capabilities {
        // Or root would get all that are not out of bounds by executing anything.
        let is_root = user.is_none_or(|user| user.uid == 0);
        let is_root_less = is_root && effective != bounding;
        steps.push(Step::Capabilities { set: effective, is_root_less });
    }
    steps
}

/// What would stand in the way of any other step.
fn last(confinement: &Confinement) -> Vec<Step> {
    let mut steps = Vec::new();
    if confinement.no_new_privileges {
        steps.push(Step::NoNewPrivileges);
        steps.extend(confinement.seccomp.iter().cloned().map(Step::Seccomp));
    }
    steps
}

fn text(text: &str) -> CString {
    CString::new(text).expect("the plan holds no NUL")
}
