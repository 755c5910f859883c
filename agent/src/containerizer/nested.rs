//! Containers in containers: where each has its place, and what is run in it. Decides; does not look at the machine.
//!
//! ```text
//!   executor's container  ab12                 nested in it  ab12.web             and in that  ab12.web.probe
//!   cgroup       <tree>/ab12                   <tree>/ab12/web                    <tree>/ab12/web/probe
//!   sandbox      <runs>/ab12                   <runs>/ab12/containers/web         .../web/containers/probe
//!   own folder   <work_dir>/containers/ab12    .../ab12/containers/web            .../web/containers/probe
//! ```
//! So the end of one is the end of all in it, and to forget one is to forget those, too.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use api::v1;
use model::id::{ContainerId, check_id};

use super::image::ImageWish;
use super::isolation::asked::refuse_nested;
use super::isolation::confinement::{Confinement, Namespaces, SANDBOX, Source, Volume};
use super::isolation::volumes;
use super::order::task_namespaces;
use super::plan::{self, Output, PATH, Plan, PlanError, Whom};
use super::streams::{self, Io};
use crate::cgroup::knobs::Limits;
use crate::images::Said;

/// The name, in a container's sandbox and in its own folder, of the folder in which those are that are nested in it.
pub const NESTED: &str = "containers";

/// Parts the ids of a place in text. No id has it: [`api::validate`] refuses those.
const DOT: char = '.';

/// A container, by the ids of those that it is nested in, from the outermost, and its own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Never empty.
    ids: Vec<String>,
}

impl Place {
    pub fn of(id: &v1::ContainerId) -> Self {
        let mut ids: Vec<String> =
            std::iter::successors(Some(id), |id| id.parent.as_deref()).map(|id| id.value.clone()).collect();
        ids.reverse();
        Self { ids }
    }

    pub fn top(root: &ContainerId) -> Self {
        Self { ids: vec![root.as_str().to_owned()] }
    }

    /// What is nested in it by this id; `None` if that is no id.
    pub fn with(&self, id: &str) -> Option<Self> {
        let is_id = check_id(id).is_ok() && !id.contains([DOT, ' ']);
        is_id.then(|| Self { ids: self.ids.iter().cloned().chain([id.to_owned()]).collect() })
    }

    /// The outermost.
    pub fn root(&self) -> ContainerId {
        ContainerId::new(&self.ids[0])
    }

    /// That in which it is; `None` for one that is in none.
    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.ids.split_last()?;
        (!above.is_empty()).then(|| Self { ids: above.to_vec() })
    }

    pub fn is_nested(&self) -> bool {
        self.ids.len() > 1
    }

    pub fn is_within(&self, other: &Self) -> bool {
        self.ids.len() > other.ids.len() && self.ids.starts_with(&other.ids)
    }

    /// Its name among all containers of the agent.
    pub fn container_id(&self) -> ContainerId {
        ContainerId::new(self.to_string())
    }

    pub fn to_v1(&self) -> v1::ContainerId {
        let nest = |parent: Option<v1::ContainerId>, id: &String| {
            Some(v1::ContainerId { value: id.clone(), parent: parent.map(Box::new) })
        };
        self.ids.iter().fold(None, nest).expect("a place is never empty")
    }

    /// Below a folder of the outermost.
    pub fn below(&self, folder: &Path) -> PathBuf {
        self.ids[1..].iter().fold(folder.to_owned(), |path, id| path.join(NESTED).join(id))
    }
}

/// As Mesos writes ids in texts: `ab12.web`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.ids.join("."))
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A container's own folder, below that of all containers.
pub fn folder(all: &Path, container_id: &ContainerId) -> PathBuf {
    all.join(container_id.as_str().replace(DOT, &format!("/{NESTED}/")))
}

/// The own folder of the outermost that it is in.
pub(super) fn outermost(plan: &Plan) -> &Path {
    let depth = plan.container_id.as_str().matches(DOT).count();
    // `ab12/containers/web/containers/probe`
    plan.runtime.ancestors().nth(2 * depth).unwrap_or(&plan.runtime)
}

/// The path of a container's group below the agent's.
pub fn group(container_id: &ContainerId) -> String {
    container_id.as_str().replace(DOT, "/")
}

/// What is to be run in another container.
#[derive(Clone, Debug)]
pub struct Nested<'a> {
    pub place: &'a Place,
    /// What the container was made by in which it is to be.
    pub parent: &'a Plan,
    pub command: &'a v1::CommandInfo,
    pub container: Option<&'a v1::ContainerInfo>,
    /// What the image says on which that runs, if it runs on one.
    pub image: Option<&'a Said>,
    /// It lives as long as the connection of who looks at it, and finds what its parent found: environment, folder.
    pub is_session: bool,
    pub switch_user: bool,
    /// Containers can have mounts of their own.
    pub has_mounts: bool,
    /// Its own, if it does not share its parent's: [`has_own_limits`].
    pub limits: Option<Limits>,
}

/// It is to be held by itself, within what holds the container that it is in.
pub fn has_own_limits(container: Option<&v1::ContainerInfo>) -> bool {
    container.and_then(|it| it.linux_info.as_ref()).is_some_and(|linux| !linux.share_cgroups())
}

/// The user is the parent's unless the command has one, as in Mesos; so is the environment of a session. One that is no
/// session has the command's and knows its sandbox.
pub fn plan(nested: &Nested<'_>) -> Result<Plan, PlanError> {
    let Nested { place, parent, command, container, is_session, switch_user, .. } = nested;
    refuse_unsupported(*container)?;
    let id = place.ids.last().expect("a place is never empty");
    let sandbox = parent.sandbox.join(NESTED).join(id);
    let seen = parent.seen.join(NESTED).join(id);
    let mut environment = if *is_session { found(nested) } else { BTreeMap::new() };
    let told = if *is_session { &parent.seen } else { &seen };
    environment.insert("MESOS_SANDBOX".to_owned(), told.display().to_string());
    for variable in command.environment.iter().flat_map(|it| &it.variables) {
        environment.insert(variable.name.clone(), plan::variable_value(variable)?);
    }
    environment.entry("PATH".to_owned()).or_insert_with(|| PATH.to_owned());
    for (name, value) in &environment {
        plan::check_variable(name, value)?;
    }
    let own_user = command.user.as_ref().filter(|user| !user.is_empty());
    // Who runs as root here may be anybody.
    let may_name_user = *switch_user && own_user.is_none() && parent.user.as_deref() == Some("root");
    let image = ImageWish::nested(*container, command, may_name_user);
    let (programs, args) = match image {
        // What it is to run, and where that is searched for, the image has a say in.
        Some(_) => (Vec::new(), Vec::new()),
        None => plan::program(command, &environment["PATH"])?,
    };
    let user = own_user.filter(|_| *switch_user);
    let is_parents = user.is_none() && image.is_none();
    let image_user = parent.image.as_ref().filter(|_| is_parents).zip(nested.image);
    let image_user = image_user.and_then(|(wish, said)| wish.user(said.user.clone()));
    let io = streams::terminal(*container).unwrap_or(if *is_session { Io::Pipes } else { Io::Files });
    let output = match &parent.output {
        Some(Output { folder, settings }) => {
            Some(Output { folder: folder.clone(), settings: settings.with(&environment)? })
        }
        None => None,
    };
    Ok(Plan {
        container_id: place.container_id(),
        runtime: parent.runtime.join(NESTED).join(id),
        latest: None,
        nested_in: Some(parent.nested_in.clone().unwrap_or_else(|| parent.sandbox.clone())),
        folder: if *is_session { begins_in(nested) } else { told.clone() },
        // On an image it has a root of its own.
        trusted: if image.is_some() { SANDBOX.into() } else { parent.trusted.clone() },
        seen: if image.is_some() { SANDBOX.into() } else { seen },
        io,
        sandbox,
        programs,
        args,
        environment,
        user: user.cloned().or_else(|| parent.user.clone()),
        uris: command.uris.clone(),
        limits: nested.limits,
        output,
        confinement: confinement(nested)?,
        shares: shared(parent),
        shares_with: whom(parent),
        task: None,
        image,
        image_user,
        kept: Vec::new(),
    })
}

/// The environment of what runs in it, which an image adds to.
fn found(nested: &Nested<'_>) -> BTreeMap<String, String> {
    let mut environment = nested.parent.environment.clone();
    if let (Some(wish), Some(said)) = (&nested.parent.image, nested.image) {
        environment.extend(wish.variables(&said.config));
    }
    environment
}

/// Where what runs in it has begun, which an image may say.
fn begins_in(nested: &Nested<'_>) -> PathBuf {
    let said = nested.image.and_then(|said| said.config.working_dir.as_ref());
    said.map_or_else(|| nested.parent.seen.clone(), PathBuf::from)
}

/// It may do no more than what is in there already; what it sees beside that is its own.
fn confinement(nested: &Nested<'_>) -> Result<Confinement, PlanError> {
    let Nested { parent, container, has_mounts, .. } = nested;
    let outer = parent.task.as_ref().map_or(&parent.confinement, |task| &task.confinement);
    let volumes = volumes::of_nested(container.map_or(&[], |it| &it.volumes))?;
    if !volumes.is_empty() && !has_mounts {
        let why = "it needs an agent that runs as root, with filesystem/linux in --isolation";
        return Err(PlanError::Cannot { field: "container.volumes", why: why.to_owned() });
    }
    let has_own_root = container.and_then(|it| it.mesos.as_ref()).is_some_and(|it| it.image.is_some());
    let is_machines = |volume: &Volume| matches!(volume.source, Source::Machine(_));
    if parent.trusted == Path::new(SANDBOX) && !has_own_root && volumes.iter().any(is_machines) {
        let why = "the container that it is in does not see the machine's files";
        return Err(PlanError::Cannot { field: "container.volumes.host_path", why: why.to_owned() });
    }
    let namespaces = Namespaces { mount: !volumes.is_empty(), ..Namespaces::default() };
    Ok(Confinement { namespaces, volumes, ..outer.rights() })
}

/// Those that its task has and its executor has not. An image is mounted in one, by whoever runs on it.
fn own_of_task(parent: &Plan) -> Namespaces {
    let Some(task) = &parent.task else { return Namespaces::default() };
    let own = task_namespaces(task);
    Namespaces { mount: own.mount || parent.image.is_some(), ..own }
}

/// Who has all of them.
fn whom(parent: &Plan) -> Whom {
    let task_has_users = parent.task.as_ref().is_some_and(|task| task.confinement.has_users);
    let is_apart = task_has_users || own_of_task(parent) != Namespaces::default();
    if is_apart { Whom::Task } else { Whom::First }
}

/// All that are not the machine's of the container that it is in, which may be nested itself.
fn shared(parent: &Plan) -> Namespaces {
    let on_image = parent.image.is_some();
    let own = Namespaces {
        mount: parent.confinement.namespaces.mount || on_image,
        ..parent.confinement.namespaces
    };
    // What is nested and runs on an image has left those of its parent for its own: see `Plan::set_root`.
    let above = Namespaces { mount: parent.shares.mount && !on_image, ..parent.shares };
    own.and(above).and(own_of_task(parent))
}

/// What only a container of its own can have must not be silently left out of one that asks for it.
fn refuse_unsupported(container: Option<&v1::ContainerInfo>) -> Result<(), PlanError> {
    let Some(asked) = container else { return Ok(()) };
    let linux = asked.linux_info.clone().unwrap_or_default();
    let rest = v1::LinuxInfo { share_cgroups: None, ..linux };
    let has_more = rest != v1::LinuxInfo::default();
    let rest = v1::ContainerInfo { linux_info: has_more.then_some(rest), ..asked.clone() };
    refuse_nested(&rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(parts: &[&str]) -> v1::ContainerId {
        let nest = |parent: Option<v1::ContainerId>, value: &&str| {
            Some(v1::ContainerId { value: (*value).to_owned(), parent: parent.map(Box::new) })
        };
        parts.iter().fold(None, nest).expect("not empty")
    }

    #[test]
    fn a_place_is_named_from_the_outermost() {
        let place = Place::of(&id(&["r", "a", "b"]));
        assert_eq!(place.to_string(), "r.a.b");
        assert_eq!(place.root().as_str(), "r");
        assert_eq!(place.parent(), Some(Place::of(&id(&["r", "a"]))));
        assert_eq!(Place::top(&"r".into()).parent(), None);
        assert_eq!(place.to_v1(), id(&["r", "a", "b"]));
        assert_eq!(group(&place.container_id()), "r/a/b");
        assert_eq!(
            folder(Path::new("/c"), &place.container_id()),
            Path::new("/c/r/containers/a/containers/b")
        );
        assert_eq!(place.below(Path::new("/s")), Path::new("/s/containers/a/containers/b"));
        assert!(place.is_within(&Place::top(&"r".into())));
        assert!(!place.is_within(&place));
        assert!(!place.is_within(&Place::of(&id(&["r", "ab"]))));
        assert_eq!(Place::top(&"r".into()).with("a").and_then(|it| it.with("b")), Some(place));
        for bad in ["", ".", "..", "a.b", "a b", "a/b"] {
            assert_eq!(Place::top(&"r".into()).with(bad), None, "{bad}");
        }
    }

    fn parent() -> Plan {
        let text = |text: &str| text.to_owned();
        Plan {
            container_id: "r".into(),
            sandbox: "/w/runs/r".into(),
            runtime: "/w/containers/r".into(),
            latest: Some("/w/runs/latest".into()),
            nested_in: None,
            seen: "/w/runs/r".into(),
            trusted: "/w/runs/r".into(),
            folder: "/w/runs/r".into(),
            io: Io::Files,
            programs: vec![c"/bin/executor".into()],
            args: vec![c"executor".into()],
            environment: BTreeMap::from([(text("A"), text("1")), (text("MESOS_SANDBOX"), text("/w/runs/r"))]),
            user: Some(text("nobody")),
            uris: Vec::new(),
            limits: None,
            output: None,
            confinement: Confinement::default(),
            shares: Namespaces::default(),
            shares_with: Whom::First,
            task: None,
            image: None,
            image_user: None,
            kept: Vec::new(),
        }
    }

    fn shell(line: &str) -> v1::CommandInfo {
        v1::CommandInfo { value: Some(line.to_owned()), ..v1::CommandInfo::default() }
    }

    #[test]
    fn a_nested_container_has_its_own_sandbox_and_its_parents_user() {
        let (parent, command) = (parent(), shell("true"));
        let place = Place::of(&id(&["r", "a"]));
        let nested = Nested {
            place: &place,
            parent: &parent,
            command: &command,
            container: None,
            image: None,
            is_session: false,
            switch_user: true,
            has_mounts: true,
            limits: None,
        };
        let first = plan(&nested).expect("a plan");
        assert_eq!(first.sandbox, Path::new("/w/runs/r/containers/a"));
        assert_eq!(first.folder, first.sandbox);
        assert_eq!(first.runtime, Path::new("/w/containers/r/containers/a"));
        assert_eq!(first.nested_in.as_deref(), Some(Path::new("/w/runs/r")));
        assert_eq!(first.user.as_deref(), Some("nobody"));
        assert_eq!(first.environment["MESOS_SANDBOX"], "/w/runs/r/containers/a");
        assert!(!first.environment.contains_key("A"), "that is its parent's");
        let place = Place::of(&id(&["r", "a", "b"]));
        let command = v1::CommandInfo { user: Some("root".to_owned()), ..shell("true") };
        let second = Nested { place: &place, parent: &first, command: &command, ..nested.clone() };
        let planned = plan(&second).expect("a plan");
        assert_eq!(planned.sandbox, Path::new("/w/runs/r/containers/a/containers/b"));
        assert_eq!(planned.nested_in, first.nested_in);
        assert_eq!(planned.user.as_deref(), Some("root"));
        let kept = plan(&Nested { switch_user: false, ..second }).expect("a plan");
        assert_eq!(kept.user.as_deref(), Some("nobody"), "nobody is switched");
    }

    #[test]
    fn a_session_finds_what_its_parent_finds() {
        let (parent, place) = (parent(), Place::of(&id(&["r", "s"])));
        let nested = Nested {
            place: &place,
            parent: &parent,
            command: &shell("env"),
            container: None,
            image: None,
            is_session: true,
            switch_user: true,
            has_mounts: true,
            limits: None,
        };
        let session = plan(&nested).expect("a plan");
        assert_eq!(session.environment["A"], "1");
        assert_eq!(session.environment["MESOS_SANDBOX"], "/w/runs/r");
        assert_eq!((session.folder, session.io), ("/w/runs/r".into(), Io::Pipes));
        let size = v1::tty_info::WindowSize { rows: 24, columns: 80 };
        let terminal = v1::ContainerInfo {
            r#type: v1::container_info::Type::Mesos as i32,
            tty_info: Some(v1::TtyInfo { window_size: Some(size) }),
            ..v1::ContainerInfo::default()
        };
        let session = plan(&Nested { container: Some(&terminal), ..nested }).expect("a plan");
        assert_eq!(session.io, Io::Terminal(Some(streams::Window { rows: 24, columns: 80 })));
    }

    #[test]
    fn what_a_nested_container_cannot_have_is_named() {
        let (parent, place) = (parent(), Place::of(&id(&["r", "a"])));
        let with = |linux: v1::LinuxInfo| {
            let r#type = v1::container_info::Type::Mesos as i32;
            let container =
                v1::ContainerInfo { r#type, linux_info: Some(linux), ..v1::ContainerInfo::default() };
            let nested = Nested {
                place: &place,
                parent: &parent,
                command: &shell("true"),
                container: Some(&container),
                image: None,
                is_session: false,
                switch_user: false,
                has_mounts: true,
                limits: None,
            };
            plan(&nested).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(with(v1::LinuxInfo { share_cgroups: Some(true), ..Default::default() }), Ok(()));
        assert_eq!(with(v1::LinuxInfo { share_cgroups: Some(false), ..Default::default() }), Ok(()));
    }
}
