//! Flags of how containers are kept apart.

use crate::containerizer::isolation::asked::Policy;
use crate::containerizer::isolation::capabilities;
use crate::containerizer::seccomp::{self, SeccompError};
use crate::containerizer::users::Range;
use crate::size;
use api::v1::CapabilityInfo;
use api::v1::capability_info::Capability;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What `--isolation` can name. Mesos' own words, as far as they mean something here, and a few more.
const WORDS: [(&str, Kind); 13] = [
    ("cgroup", Kind::Cgroup),
    ("filesystem/linux", Kind::Filesystem),
    ("linux/capabilities", Kind::Capabilities),
    ("linux/nnp", Kind::NoNewPrivileges),
    ("linux/seccomp", Kind::Seccomp),
    ("namespaces/ipc", Kind::Ipc),
    ("namespaces/pid", Kind::Pid),
    ("namespaces/user", Kind::Users),
    ("namespaces/uts", Kind::Uts),
    ("none", Kind::Nothing),
    ("posix/rlimits", Kind::Rlimits),
    ("volume/host_path", Kind::Filesystem),
    ("volume/sandbox_path", Kind::Filesystem),
];
/// What the kernel measures for everybody, or what is always so.
const NOTHING: [&str; 4] = ["filesystem/posix", "posix/cpu", "posix/mem", "environment_secret"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Nothing,
    Cgroup,
    Filesystem,
    Capabilities,
    NoNewPrivileges,
    Seccomp,
    Ipc,
    Pid,
    Uts,
    Users,
    Rlimits,
}

impl Kind {
    /// Only root can do it to others.
    fn wants_root(self) -> bool {
        matches!(
            self,
            Self::Filesystem | Self::Capabilities | Self::Ipc | Self::Pid | Self::Uts | Self::Users
        )
    }
}

/// A list of isolators, as it was written.
#[derive(Clone, Debug)]
pub struct Isolators {
    text: String,
    kinds: BTreeSet<Kind>,
}

impl Isolators {
    fn parse(text: &str) -> Result<Self, String> {
        let mut kinds = BTreeSet::new();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            // One hierarchy holds all controllers.
            let word = if word.starts_with("cgroups/") { "cgroup" } else { word };
            match WORDS.into_iter().find(|(name, _)| *name == word) {
                Some((_, kind)) => _ = kinds.insert(kind),
                None if NOTHING.contains(&word) => {}
                None => {
                    let names: Vec<_> = WORDS.iter().map(|(name, _)| *name).collect();
                    return Err(format!("unknown '{word}'; expected some of {}", names.join(", ")));
                }
            }
        }
        if kinds.contains(&Kind::Nothing) && kinds.len() > 1 {
            return Err("'none' stands alone".to_owned());
        }
        Ok(Self { text: text.to_owned(), kinds })
    }

    fn has(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }
}

/// For who says nothing: what costs those nothing who do not ask for it.
const ROOTS: &str = "cgroup,filesystem/linux,linux/capabilities,posix/rlimits";
const ANYBODYS: &str = "cgroup,posix/rlimits";

#[derive(Clone, Debug, clap::Args)]
pub struct IsolationFlags {
    /// How containers are kept apart: a list, see docs/isolation.md [default for root:
    /// cgroup,filesystem/linux,linux/capabilities,posix/rlimits, else: cgroup,posix/rlimits]
    #[arg(long, env = "MESOS_ISOLATION", value_parser = Isolators::parse, value_name = "LIST")]
    pub isolation: Option<Isolators>,

    /// A container may not ask to share the machine's PID namespace, where --isolation has namespaces/pid
    #[arg(long, env = "MESOS_DISALLOW_SHARING_AGENT_PID_NAMESPACE",
          num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub disallow_sharing_agent_pid_namespace: bool,

    /// A container may not ask to share the machine's IPC namespace, where --isolation has namespaces/ipc
    #[arg(long, env = "MESOS_DISALLOW_SHARING_AGENT_IPC_NAMESPACE",
          num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub disallow_sharing_agent_ipc_namespace: bool,

    /// Ids of the machine that are those of users in containers, where --isolation has namespaces/user: 65536 a container
    /// [default: 1879048192:268435456]
    #[arg(long, env = "INGOT_USERNS_REMAP", value_name = "FIRST:COUNT")]
    pub userns_remap: Option<Range>,

    /// Size of a container's own /dev/shm, if it names none [default: 64MB]
    #[arg(long, env = "MESOS_DEFAULT_CONTAINER_SHM_SIZE",
          value_parser = size::parse_bytes, value_name = "SIZE")]
    pub default_container_shm_size: Option<u64>,

    /// Every container has a /tmp of its own, in its sandbox
    #[arg(long, env = "INGOT_PRIVATE_TMP", num_args = 0..=1, default_value_t = false, default_missing_value = "true",
          action = clap::ArgAction::Set)]
    pub private_tmp: bool,

    /// Capabilities of containers that name none, as '{"capabilities": ["CHOWN", "NET_RAW"]}' [default: their user's]
    #[arg(long, env = "MESOS_EFFECTIVE_CAPABILITIES", value_parser = parse_capabilities,
          value_name = "JSON")]
    pub effective_capabilities: Option<u64>,

    /// The most capabilities that any container gets, in the same form [default: all]
    #[arg(long, env = "MESOS_BOUNDING_CAPABILITIES", value_parser = parse_capabilities,
          value_name = "JSON")]
    pub bounding_capabilities: Option<u64>,

    /// Folder of the seccomp profiles that containers may name; read at the start
    #[arg(long, env = "MESOS_SECCOMP_CONFIG_DIR", value_name = "DIRECTORY")]
    pub seccomp_config_dir: Option<PathBuf>,

    /// That of them which holds for who names none [default: Ingot's own]
    #[arg(
        long,
        alias = "seccomp-profile-name",
        env = "MESOS_SECCOMP_PROFILE_NAME",
        requires = "seccomp_config_dir",
        value_name = "NAME"
    )]
    pub seccomp_profile_name: Option<String>,
}

/// `CapabilityInfo` in JSON.
#[derive(serde::Deserialize)]
struct Named {
    capabilities: Vec<String>,
}

fn parse_capabilities(text: &str) -> Result<u64, String> {
    let bad = || "expected an object as '{\"capabilities\": [\"CHOWN\"]}'".to_owned();
    let named: Named = serde_json::from_str(text).map_err(|_| bad())?;
    let number = |name: &String| match Capability::from_str_name(name) {
        Some(Capability::Unknown) | None => Err(format!("unknown capability '{name}'")),
        Some(capability) => Ok(capability as i32),
    };
    let capabilities = named.capabilities.iter().map(number).collect::<Result<_, _>>()?;
    capabilities::set(&CapabilityInfo { capabilities }).ok_or_else(bad)
}

impl IsolationFlags {
    fn isolators(&self, is_root: bool) -> Isolators {
        let usual = if is_root { ROOTS } else { ANYBODYS };
        self.isolation.clone().unwrap_or_else(|| Isolators::parse(usual).expect("our own words"))
    }

    pub(crate) fn users(&self) -> Range {
        self.userns_remap.unwrap_or(Range::USUAL)
    }

    pub(crate) fn has_cgroups(&self) -> bool {
        self.isolators(true).has(Kind::Cgroup)
    }

    /// # Errors
    /// What was asked for by name and only root can do, or what is wrong with seccomp profiles.
    pub(crate) fn policy(&self, is_root: bool, work_dir: &Path) -> Result<Policy, PolicyError> {
        let isolators = self.isolators(is_root);
        if self.private_tmp && !isolators.has(Kind::Filesystem) {
            return Err(PolicyError::TmpNeedsMounts);
        }
        if self.private_tmp && work_dir.starts_with("/tmp") {
            return Err(PolicyError::TmpHoldsSandboxes);
        }
        if let Some(kind) = isolators.kinds.iter().find(|kind| kind.wants_root() && !is_root) {
            let name = WORDS.iter().find(|(_, other)| other == kind).map_or("", |(name, _)| name);
            return Err(PolicyError::NotRoot { name });
        }
        let has = |kind| isolators.has(kind);
        let most = self.bounding_capabilities.or(self.effective_capabilities).unwrap_or(u64::MAX);
        let seccomp = match has(Kind::Seccomp) {
            true => {
                seccomp::load(self.seccomp_config_dir.as_deref(), self.seccomp_profile_name.as_deref(), most)?
            }
            false => Default::default(),
        };
        Ok(Policy {
            // Its own PID namespace wants a /proc of its own.
            filesystem: has(Kind::Filesystem) || has(Kind::Pid) || has(Kind::Ipc),
            pid: has(Kind::Pid),
            ipc: has(Kind::Ipc),
            uts: has(Kind::Uts),
            users: has(Kind::Users),
            may_share_pid: !self.disallow_sharing_agent_pid_namespace,
            may_share_ipc: !self.disallow_sharing_agent_ipc_namespace,
            shm_bytes: self.default_container_shm_size,
            private_tmp: self.private_tmp,
            // Without it an ordinary user's process could not have a filter.
            no_new_privileges: has(Kind::NoNewPrivileges) || (has(Kind::Seccomp) && !is_root),
            capabilities: has(Kind::Capabilities),
            effective: self.effective_capabilities,
            bounding: self.bounding_capabilities,
            rlimits: has(Kind::Rlimits),
            seccomp,
        })
    }

    pub(super) fn shown(&self, flags: &mut BTreeMap<&'static str, String>) {
        let is_root = nix::unistd::geteuid().is_root();
        flags.insert("isolation", self.isolators(is_root).text);
        let switches = [
            ("disallow_sharing_agent_ipc_namespace", self.disallow_sharing_agent_ipc_namespace),
            ("disallow_sharing_agent_pid_namespace", self.disallow_sharing_agent_pid_namespace),
            ("private_tmp", self.private_tmp),
        ];
        flags.extend(switches.map(|(name, is_on)| (name, is_on.to_string())));
        let given = [
            ("seccomp_config_dir", self.seccomp_config_dir.as_ref().map(|it| it.display().to_string())),
            ("userns_remap", self.userns_remap.map(|it| it.to_string())),
            ("seccomp_profile_name", self.seccomp_profile_name.clone()),
            ("default_container_shm_size", self.default_container_shm_size.map(|it| format!("{it}B"))),
        ];
        flags.extend(given.into_iter().filter_map(|(name, value)| Some((name, value?))));
    }
}

/// Why containers cannot be kept apart as the flags say.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("{name} (--isolation) wants an agent that runs as root")]
    NotRoot { name: &'static str },
    #[error("--private-tmp wants filesystem/linux in --isolation")]
    TmpNeedsMounts,
    #[error("--private-tmp would hide the sandboxes, which --work-dir puts in /tmp")]
    TmpHoldsSandboxes,
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
}
