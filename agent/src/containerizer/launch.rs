//! From a plan to a running process, in two steps with a pause between them: `prepare` makes the sandbox and the cgroup,
//! so that the caller can register the cgroup with BPF and have files fetched; `start` then runs the program in them.
//!
//! All of this blocks (file systems, the kernel's cgroup lock, exec), so it happens on one thread of its own. One is
//! enough: a launch takes well under a millisecond of it, most of which the kernel would serialize anyway.

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use model::id::ContainerId;
use tokio::sync::oneshot;

use super::held::Held;
use super::init::{self, Init, NotRun, Runtime};
use super::io::{self, Ends};
use super::isolation::confinement::Namespaces;
use super::nested;
use super::order::{Numbers, User, born_in, steps};
use super::persistent;
use super::plan::{Output, Plan, Whom};
use super::sandbox::{self, SandboxError};
use super::steps::{Step, encode};
use super::streams::Io;
use super::task;
use super::users::{Blocks, Users, UsersError};
use super::within::{self, Entered};
use crate::bpf::hold::HoldError;
use crate::cgroup::CgroupError;
use crate::cgroup::container::Container;
use crate::cgroup::hierarchy::Tree;
use crate::images::{self, overlay::UPPER};
use crate::logger::{pipes, ticket::Ticket};
use crate::sys::clone::Child;
use crate::sys::identity::Identity;
use crate::sys::processes::{self, Mark, Stat};
use crate::sys::{SysError, pidfd};

/// Why a container could not be launched. Becomes the message of TASK_FAILED.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error("no such user '{user}'")]
    NoSuchUser { user: String },
    #[error("look up user '{user}'")]
    User { user: String, source: SysError },
    #[error("the sandbox cannot be made")]
    Sandbox(#[from] SandboxError),
    #[error("the cgroup cannot be made")]
    Cgroup(#[from] CgroupError),
    #[error("make the pipes that the container prints into")]
    Output(#[source] std::io::Error),
    #[error("make the container's folder {}", path.display())]
    Runtime { path: PathBuf, source: std::io::Error },
    #[error("the container's own users")]
    Users(#[from] UsersError),
    #[error("its input and output")]
    Io(#[source] SysError),
    #[error("the container cannot be held to its limits")]
    Hold(#[from] HoldError),
    #[error("execute {program}")]
    Execute { program: String, source: SysError },
    #[error("isolate the container: {what}")]
    Isolate { what: String, source: SysError },
    #[error("watch process {pid}")]
    Watch { pid: i32, source: std::io::Error },
}

/// The thread on which launches block.
#[derive(Debug)]
pub(super) struct Launcher {
    jobs: mpsc::Sender<Box<dyn FnOnce() + Send>>,
}

impl Launcher {
    /// The thread ends with the handle.
    pub(super) fn start() -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        std::thread::Builder::new().name("launcher".to_owned()).spawn(move || {
            for job in queue {
                job();
            }
        })?;
        Ok(Self { jobs })
    }

    /// Does `work` there, after what was asked before. It is done even if the caller stops waiting.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(move || drop(reply.send(work())));
        self.jobs.send(job).expect("the launcher ends only with its handle");
        answer.await.expect("the launcher does every job it takes")
    }
}

/// A container that is ready for its program: the sandbox is there, the cgroup is there and limited, nothing runs.
/// It is to be started or abandoned; dropped, it leaves both behind.
#[derive(Debug)]
pub struct Prepared {
    pub container_id: ContainerId,
    pub sandbox: PathBuf,
    pub(super) cgroup: Option<Arc<Container>>,
    /// Whom the program runs as, to itself; `None`: who we are.
    identity: Option<Identity>,
    /// Who that is on the machine: whom its files belong to.
    owner: Option<Identity>,
    /// Where its users are its own.
    users: Option<Users>,
    pub(super) runtime: Runtime,
    plan: Box<Plan>,
    /// Of the sandbox.
    pub(super) files: [OwnedFd; 3],
    programs: [OwnedFd; 3],
    pub(super) ends: Option<Ends>,
    /// Where init writes how the program ended.
    record: File,
}

impl Prepared {
    /// Under which BPF programs will see what the container does; `None` without a cgroup.
    pub fn cgroup_id(&self) -> Option<u64> {
        self.cgroup.as_ref().map(|cgroup| cgroup.id())
    }

    pub fn cgroup_path(&self) -> Option<&std::path::Path> {
        self.cgroup.as_ref().map(|cgroup| cgroup.path())
    }

    pub(super) fn to_fetch(&self) -> super::fetch::Request<'_> {
        super::fetch::Request {
            uris: &self.plan.uris,
            sandbox: &self.sandbox,
            user: self.plan.user.as_deref(),
            identity: self.owner.as_ref(),
            stderr: self.files[2].try_clone().ok().map(std::fs::File::from),
        }
    }
}

/// A program that was started, and its container. The child is init.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) prepared: Prepared,
    pub(super) child: Child,
    pub(super) start_ticks: u64,
}

/// The variable that tells a container's processes from all others: its value ends in the container's random id.
pub(super) const MARK_VARIABLE: &str = "MESOS_SANDBOX";

impl Started {
    pub(super) fn mark(&self) -> Mark {
        mark(self.child.pid, self.start_ticks, &self.prepared.sandbox)
    }
}

pub(super) fn mark(leader: i32, leader_start_ticks: u64, sandbox: &std::path::Path) -> Mark {
    Mark { leader, leader_start_ticks, environment: format!("{MARK_VARIABLE}={}", sandbox.display()) }
}

/// A process of an earlier life of the agent, if the one that has this number now is the container's: in its cgroup or,
/// where it has none, with its mark. Both hold the container's random id, so another process has neither. Blocks.
pub(super) fn find(
    pid: i32,
    cgroup: Option<&Container>,
    sandbox: &std::path::Path,
) -> Option<(OwnedFd, Stat)> {
    // First the handle, then the look: whatever the number means afterwards, the handle means what was looked at.
    let process = pidfd::open(pid).ok()?;
    let stat = processes::stat(pid)?;
    let is_ours = match cgroup {
        Some(cgroup) => cgroup.processes().contains(&pid),
        None => processes::environment_has(pid, &mark(pid, 0, sandbox).environment),
    };
    (is_ours && !stat.is_zombie()).then_some((process, stat))
}

/// The first process of a container whose number nobody wrote down: an agent may die between starting a program and
/// remembering it, and the program runs on. It is the one that no other of the container's has for a parent, of several
/// the oldest. Blocks.
pub(super) fn find_first(cgroup: Option<&Container>, sandbox: &std::path::Path) -> Option<(OwnedFd, Stat)> {
    let members = within::members(cgroup, &mark(0, 0, sandbox));
    let has_parent_here = |stat: &Stat| members.iter().any(|other| other.pid == stat.parent);
    let first = members.iter().filter(|stat| !has_parent_here(stat)).min_by_key(|stat| stat.start_ticks)?;
    let (process, stat) = find(first.pid, cgroup, sandbox)?;
    (stat.start_ticks == first.start_ticks).then_some((process, stat))
}

/// Blocks. What was made when a later step fails is removed, but for the sandbox, which is collected with others.
pub(super) fn prepare(
    plan: Box<Plan>,
    tree: Option<&Tree>,
    held: &Held,
    blocks: &Mutex<Blocks>,
) -> Result<Prepared, LaunchError> {
    let users = users(&plan, blocks)?;
    let identity = identity(&plan)?;
    let (identity, owner) = match users {
        None => (identity.clone(), identity),
        Some(users) => {
            let inside = identity.unwrap_or_else(Identity::root);
            let outside = users.outside(&inside)?;
            (Some(inside), Some(outside))
        }
    };
    let files = make_sandbox(&plan, owner.as_ref())?;
    let files = rotated(&plan, owner.as_ref(), files)?;
    let io::Made { programs, ends } = io::make(plan.io, &files, owner.as_ref()).map_err(LaunchError::Io)?;
    let runtime = Runtime::of(&plan.runtime);
    let record =
        runtime.create().map_err(|source| LaunchError::Runtime { path: plan.runtime.clone(), source })?;
    if let Some(users) = users {
        take_over(users, &plan)?;
    }
    let create = |tree| -> Result<Arc<Container>, LaunchError> {
        let group = nested::group(&plan.container_id);
        // Programs hold what is nested by holding the outermost.
        let Some(limits) = plan.limits.as_ref().filter(|_| plan.nested_in.is_none()) else {
            return Ok(Arc::new(Container::create_nested(tree, &group, plan.limits.as_ref())?));
        };
        let container = Container::create(tree, &group, limits)?;
        match held.begin(container.path(), limits) {
            Ok(()) => Ok(Arc::new(container)),
            Err(error) => {
                let _ = container.remove();
                Err(error.into())
            }
        }
    };
    Ok(Prepared {
        container_id: plan.container_id.clone(),
        sandbox: plan.sandbox.clone(),
        cgroup: tree.map(create).transpose()?,
        identity,
        owner,
        users,
        runtime,
        plan,
        files,
        programs,
        ends,
        record,
    })
}

/// The container's own users, if it is to have some: those of what it is in, or some that nobody has.
fn users(plan: &Plan, blocks: &Mutex<Blocks>) -> Result<Option<Users>, LaunchError> {
    if plan.nested_in.is_some() {
        return Ok(Users::read(nested::outermost(plan)));
    }
    if !plan.has_users() {
        return Ok(None);
    }
    let mut blocks = blocks.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Some(blocks.take(&plan.runtime)?))
}

/// They are the container's now, and so is what was made of its root.
fn take_over(users: Users, plan: &Plan) -> Result<(), LaunchError> {
    if plan.nested_in.is_none() {
        users.write(&plan.runtime)?;
    }
    let confinement = plan.task.as_ref().map_or(&plan.confinement, |task| &task.confinement);
    if let Some(overlay) = confinement.root.as_ref().and_then(|root| root.overlay.as_ref()) {
        users.adopt(&overlay.folder.join(UPPER))?;
    }
    Ok(())
}

impl Identity {
    /// Of a container that has users of its own.
    fn root() -> Self {
        Self { uid: 0, gid: 0, groups: vec![0] }
    }

    fn user(&self) -> User<'_> {
        User { uid: self.uid, gid: self.gid, groups: &self.groups }
    }
}

fn make_sandbox(plan: &Plan, owner: Option<&Identity>) -> Result<[OwnedFd; 3], SandboxError> {
    let Some(outermost) = &plan.nested_in else {
        sandbox::create(&plan.sandbox, plan.latest.as_deref(), owner)?;
        persistent::provide(&plan.kept, &plan.sandbox, owner)?;
        return sandbox::open_stdio(&plan.sandbox, owner);
    };
    let folder = sandbox::create_nested(outermost, &plan.sandbox, owner)?;
    sandbox::open_stdio(&sandbox::path_of(&folder), owner)
}

/// Where output goes by way of the logger, its files are there from the start all the same.
fn rotated(plan: &Plan, owner: Option<&Identity>, files: [OwnedFd; 3]) -> Result<[OwnedFd; 3], LaunchError> {
    let Some(Output { folder, settings }) = plan.output.as_ref().filter(|_| plan.io == Io::Files) else {
        return Ok(files);
    };
    let own = || (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let (uid, gid) = owner.map_or_else(own, |it| (it.uid, it.gid));
    let ticket = Ticket { sandbox: plan.sandbox.clone(), uid, gid, settings: *settings };
    let pipes = pipes::open(folder, plan.container_id.as_str(), &ticket).map_err(LaunchError::Output)?;
    let ([stdin, ..], [stdout, stderr]) = (files, pipes);
    Ok([stdin, stdout, stderr])
}

/// Whom an image names, by its numbers, or else a user of the machine. `None` as with [`find_user`].
fn identity(plan: &Plan) -> Result<Option<Identity>, LaunchError> {
    match plan.image_user.clone() {
        Some(images::users::User { uid: 0, gid: 0, .. }) => Ok(None),
        Some(images::users::User { uid, gid, groups }) => Ok(Some(Identity { uid, gid, groups })),
        None => Ok(plan.user.as_deref().map(find_user).transpose()?.flatten()),
    }
}

/// `None`: it is who we are, and nothing is to be switched.
fn find_user(user: &str) -> Result<Option<Identity>, LaunchError> {
    let found = Identity::find(user).map_err(|source| LaunchError::User { user: user.to_owned(), source })?;
    let identity = found.ok_or_else(|| LaunchError::NoSuchUser { user: user.to_owned() })?;
    Ok(Some(identity).filter(|i| i.uid != nix::unistd::geteuid().as_raw()))
}

/// Tells a command executor how to start its task, where there is anything to tell.
fn leave_task(prepared: &mut Prepared) -> Result<(), LaunchError> {
    let plan = &mut prepared.plan;
    let Some(task) = &plan.task else { return Ok(()) };
    let user = prepared.identity.as_ref().map(Identity::user);
    task::write(plan, task, user, prepared.users)
        .map_err(|source| LaunchError::Runtime { path: plan.runtime.clone(), source })?;
    let (name, value) = task::variable(plan);
    // Last: the framework's variable of this name would be a request to us.
    plan.environment.insert(name, value);
    Ok(())
}

/// A container's first process, by its number and when it began.
pub(super) type Leader = (u32, u64);

/// The container that another is nested in.
#[derive(Clone, Debug)]
pub(super) struct Parent {
    pub(super) leader: Leader,
    pub(super) cgroup: Option<Arc<Container>>,
    pub(super) mark: Mark,
}

/// Who it is whose namespaces a nested container enters, where those are its own.
fn entered(plan: &Plan, has_users: bool, parent: Option<Parent>) -> Result<Option<Entered>, LaunchError> {
    let Some(parent) = parent.filter(|_| has_users || plan.shares != Namespaces::default()) else {
        return Ok(None);
    };
    let members = match plan.shares_with {
        Whom::First if !has_users => Vec::new(),
        Whom::First | Whom::Task => within::members(parent.cgroup.as_deref(), &parent.mark),
    };
    let what = match plan.shares_with {
        Whom::First => "the container that it is in",
        Whom::Task => "the task that it is beside",
    };
    let found = within::find(parent.leader, plan.shares_with, &members, has_users);
    found.map(Some).map_err(|source| LaunchError::Isolate { what: what.to_owned(), source })
}

/// Whom init enters, and the users that its program is to have.
fn given(
    prepared: &Prepared,
    parent: Option<Parent>,
    init: &Init,
) -> Result<(Option<OwnedFd>, Option<OwnedFd>), LaunchError> {
    let Prepared { plan, users, .. } = prepared;
    let found = entered(plan, users.is_some() && plan.nested_in.is_some(), parent)?;
    let (process, shared) = match found {
        Some(Entered { process, users }) => (Some(process), users),
        None => (None, None),
    };
    let own = users.filter(|_| plan.confinement.has_users).map(|users| users.namespace(init)).transpose()?;
    Ok((process.filter(|_| plan.shares != Namespaces::default()), shared.or(own)))
}

fn undone(prepared: &Prepared, error: LaunchError) -> Result<Started, LaunchError> {
    let _ = prepared.runtime.remove();
    if let Some(Err(error)) = prepared.cgroup.as_ref().map(|cgroup| cgroup.remove()) {
        tracing::warn!(%error, "a cgroup that was never used cannot be removed");
    }
    Err(error)
}

/// Blocks until the program runs. On an error nothing runs and the cgroup is removed; the error stands in the sandbox's
/// `stderr` as well, where people look.
pub(super) fn start(
    mut prepared: Prepared,
    parent: Option<Parent>,
    init: &Init,
) -> Result<Started, LaunchError> {
    let given = leave_task(&mut prepared).and_then(|()| given(&prepared, parent, init));
    let (parent, users) = match given {
        Ok(given) => given,
        Err(error) => return undone(&prepared, error),
    };
    let Prepared { plan, programs, files, ends, identity, record, .. } = &prepared;
    // Who has to start a task with less than its own rights needs them until then.
    let user = identity.as_ref().filter(|_| plan.task.is_none()).map(Identity::user);
    let keep = match ends {
        Some(Ends::Terminal(ours)) => Some(ours.as_fd()),
        Some(Ends::Pipes { .. }) | None => None,
    };
    let steps = steps(plan, user, Numbers::of(keep.is_some(), parent.is_some(), users.is_some()));
    let spec = encode(&steps);
    let mark = mark(0, 0, &plan.sandbox).environment;
    let cgroup = prepared.cgroup.as_ref();
    let failed = |error| undone(&prepared, error);
    let start = init::Start {
        name: plan.container_id.as_str(),
        spec: &spec,
        mark: CString::new(mark).expect("ids hold no NUL"),
        stdio: [programs[0].as_fd(), programs[1].as_fd(), programs[2].as_fd()],
        record: record.as_fd(),
        keep,
        enter: parent.as_ref().map(AsFd::as_fd),
        users: users.as_ref().map(AsFd::as_fd),
        cgroup: cgroup.map(|cgroup| cgroup.directory()),
        namespaces: born_in(plan).flags(),
    };
    match init.start(&start) {
        Ok(child) => match processes::stat(child.pid) {
            Some(stat) => Ok(Started { prepared, child, start_ticks: stat.start_ticks }),
            // It is not reaped, so it has an entry, unless /proc is not mounted or hides it.
            None => {
                init::end(&child);
                let source = std::io::Error::other("it has no entry in /proc");
                failed(LaunchError::Watch { pid: child.pid, source })
            }
        },
        Err(NotRun { place, error: source }) => {
            let program = plan.programs.first().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
            if let Ok(stderr) = files[2].try_clone() {
                let _ = writeln!(File::from(stderr), "Failed to execute {program}: {source}");
            }
            failed(match place.and_then(|place| steps.get(place)).and_then(Step::subject) {
                Some(what) => LaunchError::Isolate { what, source },
                None => LaunchError::Execute { program, source },
            })
        }
    }
}
