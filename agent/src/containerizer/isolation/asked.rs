//! From what a container asks for (`ContainerInfo`) and what the operator says to what it gets. What cannot be given is
//! refused with the field's name: nothing is left out silently.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::Arc;

use api::v1;
use api::v1::container_info::Type;
use api::v1::linux_info::IpcMode;

use super::capabilities;
use super::confinement::{Capabilities, Confinement, Filter, Namespaces, Source, Target, Volume};
use super::{rlimits, volumes};
use crate::containerizer::plan::PlanError;

/// What the operator wants, and what the agent is able to do.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Containers can have mounts of their own, and with that everything else below. Only root can.
    pub filesystem: bool,
    /// Every container has a PID namespace of its own, unless it asks to share the machine's.
    pub pid: bool,
    pub ipc: bool,
    pub uts: bool,
    /// Every container has users of its own.
    pub users: bool,
    /// A container may ask to share the machine's, nevertheless.
    pub may_share_pid: bool,
    pub may_share_ipc: bool,
    /// Of a container's own /dev/shm; `None`: 64 MiB.
    pub shm_bytes: Option<u64>,
    pub private_tmp: bool,
    pub no_new_privileges: bool,
    /// Capabilities can be asked for.
    pub capabilities: bool,
    /// For who asks for none.
    pub effective: Option<u64>,
    /// The most that anybody gets.
    pub bounding: Option<u64>,
    pub rlimits: bool,
    pub seccomp: Seccomp,
}

/// Profiles of allowed system calls, compiled: filters to be installed in this order.
#[derive(Clone, Debug, Default)]
pub struct Seccomp {
    pub is_on: bool,
    /// For who names none.
    pub usual: Option<Filters>,
    pub profiles: BTreeMap<String, Filters>,
}

pub type Filters = Arc<[Filter]>;

/// What comes of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Given {
    /// For the container as a whole, its executor included.
    pub container: Confinement,
    /// For the task alone, where its executor is the agent's own and could not work under that.
    pub task: Option<Confinement>,
}

/// What is asked for in the container's own words, but for namespaces.
#[derive(Default)]
struct Rights {
    confinement: Confinement,
    /// Whether the container asked for any, rather than the operator.
    is_asked: bool,
}

/// `kept`: the persistent volumes among its resources.
pub fn given(
    policy: &Policy,
    container: Option<&v1::ContainerInfo>,
    kept: Vec<Volume>,
    is_command_task: bool,
) -> Result<Given, PlanError> {
    let info = container.cloned().unwrap_or_default();
    if container.is_some() {
        refuse_unsupported(&info)?;
    }
    let linux = info.linux_info.clone().unwrap_or_default();
    let mut outer = Confinement {
        namespaces: namespaces(policy, &info, &linux)?,
        hostname: hostname(&info)?,
        shm_bytes: shm(policy, &linux)?,
        volumes: volumes::given(&info.volumes)?.into_iter().chain(kept).collect(),
        ..Confinement::default()
    };
    if policy.private_tmp {
        let (source, target) = (Source::Sandbox(".tmp".into()), Target::Absolute("/tmp".into()));
        outer.volumes.insert(0, Volume { source, target, read_only: false });
    }
    let Rights { confinement: rights, is_asked } = rights(policy, &info, &linux)?;
    let has_image = info.mesos.as_ref().is_some_and(|mesos| mesos.image.is_some());
    let wants_no_network = wants_no_network(&info)?;
    let needs_mounts = !outer.volumes.is_empty() || outer.namespaces.pid || outer.namespaces.ipc;
    outer.namespaces.mount |= needs_mounts;
    let is_apart = has_image || outer.namespaces != Namespaces::default();
    if let Some(field) = first_of(&info, &linux).filter(|_| !policy.filesystem && is_apart) {
        return Err(cannot(
            field,
            "it needs an agent that runs as root, with filesystem/linux in --isolation",
        ));
    }
    if !(is_command_task && (is_asked || has_image || wants_no_network || policy.users)) {
        if wants_no_network {
            return Err(cannot("container.network_infos.name", "an executor could not reach its agent"));
        }
        let Confinement { rlimits, capabilities, no_new_privileges, seccomp, .. } = rights;
        let has_users = policy.users;
        outer = Confinement { has_users, rlimits, capabilities, no_new_privileges, seccomp, ..outer };
        return Ok(Given { container: outer, task: None });
    }
    let mut task = rights;
    task.namespaces.net = wants_no_network;
    task.has_users = policy.users;
    if has_image || policy.users {
        // They belong into its own root, or to its own users.
        task.volumes = std::mem::take(&mut outer.volumes);
        task.namespaces.mount = !task.volumes.is_empty();
    }
    Ok(Given { container: outer, task: Some(task) })
}

pub(in crate::containerizer) fn cannot(field: &'static str, why: impl Into<String>) -> PlanError {
    PlanError::Cannot { field, why: why.into() }
}

/// What containers come with later releases must not be silently left out of a task that asks for it.
fn refuse_unsupported(info: &v1::ContainerInfo) -> Result<(), PlanError> {
    let asked = [
        (info.r#type == Type::Docker as i32, "container.type DOCKER"),
        (info.docker.is_some(), "container.docker"),
    ];
    first(&asked)
}

/// For a container in another: it is kept apart as that is.
pub fn refuse_nested(info: &v1::ContainerInfo) -> Result<(), PlanError> {
    refuse_unsupported(info)?;
    first(&[
        (info.hostname.is_some(), "container.hostname"),
        (info.network_infos.iter().any(|network| network.name.is_some()), "container.network_infos.name"),
        (info.linux_info.is_some(), "container.linux_info"),
        (info.rlimit_info.is_some(), "container.rlimit_info"),
    ])
}

fn first(asked: &[(bool, &'static str)]) -> Result<(), PlanError> {
    match asked.iter().find(|(is_asked, _)| *is_asked) {
        Some((_, field)) => Err(PlanError::Unsupported { field }),
        None => Ok(()),
    }
}

/// The field by which a namespace was asked for, to name in a refusal; `None` where the operator alone wants it.
fn first_of(info: &v1::ContainerInfo, linux: &v1::LinuxInfo) -> Option<&'static str> {
    let asked = [
        (!info.volumes.is_empty(), "container.volumes"),
        (info.hostname.is_some(), "container.hostname"),
        (info.mesos.as_ref().is_some_and(|mesos| mesos.image.is_some()), "container.mesos.image"),
        (linux.share_pid_namespace == Some(false), "container.linux_info.share_pid_namespace"),
        (linux.ipc_mode() == IpcMode::Private, "container.linux_info.ipc_mode"),
    ];
    asked.into_iter().find_map(|(is_asked, field)| is_asked.then_some(field))
}

fn namespaces(
    policy: &Policy,
    info: &v1::ContainerInfo,
    linux: &v1::LinuxInfo,
) -> Result<Namespaces, PlanError> {
    let pid = match linux.share_pid_namespace {
        Some(true) if policy.pid && !policy.may_share_pid => {
            return Err(cannot("container.linux_info.share_pid_namespace", "the operator does not allow it"));
        }
        Some(shares) => !shares,
        None => policy.pid,
    };
    let ipc = match linux.ipc_mode() {
        IpcMode::ShareParent if policy.ipc && !policy.may_share_ipc => {
            return Err(cannot("container.linux_info.ipc_mode", "the operator does not allow SHARE_PARENT"));
        }
        IpcMode::ShareParent => false,
        IpcMode::Private => true,
        IpcMode::Unknown => policy.ipc,
    };
    Ok(Namespaces { pid, ipc, uts: policy.uts || info.hostname.is_some(), mount: false, net: false })
}

/// `struct utsname` has room for 64 bytes.
const HOSTNAME_BYTES_MAX: usize = 64;

fn hostname(info: &v1::ContainerInfo) -> Result<Option<CString>, PlanError> {
    const FIELD: &str = "container.hostname";
    let Some(name) = &info.hostname else { return Ok(None) };
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if name.is_empty() || name.len() > HOSTNAME_BYTES_MAX || !name.bytes().all(is_good) {
        return Err(cannot(
            FIELD,
            format!("'{name}' is no name of at most 64 letters, digits, '-', '_' and '.'"),
        ));
    }
    CString::new(name.as_str()).map(Some).map_err(|_| PlanError::Nul { field: FIELD })
}

fn shm(policy: &Policy, linux: &v1::LinuxInfo) -> Result<Option<u64>, PlanError> {
    let is_private = linux.ipc_mode() == IpcMode::Private;
    match linux.shm_size {
        Some(_) if !is_private => {
            Err(cannot("container.linux_info.shm_size", "it goes with ipc_mode PRIVATE only"))
        }
        Some(0) => Err(cannot("container.linux_info.shm_size", "zero")),
        Some(mib) => Ok(Some(u64::from(mib) << 20)),
        None => Ok(policy.shm_bytes),
    }
}

/// The name of the network that has nobody else in it.
const NO_NETWORK: &str = "none";

fn wants_no_network(info: &v1::ContainerInfo) -> Result<bool, PlanError> {
    const FIELD: &str = "container.network_infos.name";
    let names: Vec<_> = info.network_infos.iter().filter_map(|network| network.name.as_deref()).collect();
    match names.iter().find(|name| **name != NO_NETWORK) {
        Some(name) => Err(cannot(FIELD, format!("there is no network '{name}', only '{NO_NETWORK}'"))),
        None if info.network_infos.iter().any(|network| !network.port_mappings.is_empty()) => {
            Err(PlanError::Unsupported { field: "container.network_infos.port_mappings" })
        }
        None => Ok(!names.is_empty()),
    }
}

fn rights(policy: &Policy, info: &v1::ContainerInfo, linux: &v1::LinuxInfo) -> Result<Rights, PlanError> {
    let limits = info.rlimit_info.as_ref();
    if limits.is_some() && !policy.rlimits {
        return Err(cannot("container.rlimit_info", "--isolation has no posix/rlimits"));
    }
    let rlimits = limits.map_or(Ok(Vec::new()), rlimits::given)?;
    let (capabilities, asks_capabilities) = match capabilities::asked(linux)? {
        Some((field, _)) if !policy.capabilities => {
            return Err(cannot(field, "--isolation has no linux/capabilities"));
        }
        Some((_, asked)) => (Some(capabilities::given(policy, asked)?), true),
        None if policy.capabilities => (operators(policy), false),
        None => (None, false),
    };
    let (seccomp, asks_seccomp) = seccomp(policy, linux)?;
    let confinement = Confinement {
        rlimits,
        capabilities,
        no_new_privileges: policy.no_new_privileges,
        seccomp,
        ..Confinement::default()
    };
    Ok(Rights { is_asked: limits.is_some() || asks_capabilities || asks_seccomp, confinement })
}

/// For who asks for none.
fn operators(policy: &Policy) -> Option<Capabilities> {
    (policy.effective.is_some() || policy.bounding.is_some()).then(|| Capabilities {
        effective: policy.effective,
        bounding: policy.bounding.or(policy.effective).unwrap_or_default(),
    })
}

fn seccomp(policy: &Policy, linux: &v1::LinuxInfo) -> Result<(Vec<Filter>, bool), PlanError> {
    const NAME: &str = "container.linux_info.seccomp.profile_name";
    let usual = || policy.seccomp.usual.iter().flat_map(|filters| filters.iter().cloned()).collect();
    let Some(asked) = &linux.seccomp else { return Ok((usual(), false)) };
    let is_unconfined = asked.unconfined();
    match &asked.profile_name {
        Some(_) if is_unconfined => Err(cannot(NAME, "it is not for a container that is unconfined")),
        Some(_) if !policy.seccomp.is_on => Err(cannot(NAME, "--isolation has no linux/seccomp")),
        Some(name) => match policy.seccomp.profiles.get(name) {
            Some(filters) => Ok((filters.to_vec(), true)),
            None => Err(cannot(NAME, format!("there is no profile '{name}' in --seccomp-config-dir"))),
        },
        None if is_unconfined => Ok((Vec::new(), false)),
        None => Ok((usual(), false)),
    }
}
