//! The master's flags. Each may also be set in the environment, as `INGOT_<FLAG>` or Mesos' `MESOS_<FLAG>`, and be
//! written with dashes or with underscores, as Mesos writes it. The command line goes before the environment.

use crate::allocator::constraints::Place;
use crate::allocator::options::{Minimums, Options};
use crate::allocator::pattern::Limits;
use crate::allocator::policy::Kind;
use crate::allocator::slice::Slice;
use crate::cluster::snapshot::MasterInfo;
use crate::cluster::{RemovalRate, Settings};
use clap::{CommandFactory, FromArgMatches, Parser, ValueEnum};
use leader::url::ZookeeperUrl;
use model::id::MasterId;
use model::quantity::Quantity;
use model::role::Role;
use model::time::UnixTime;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

/// The version whose behaviour clients may count on; they parse it as three numbers.
const VERSION: &str = "1.11.0";

/// The flags, as they are written.
#[derive(Clone, Debug, Parser)]
#[command(name = "ingot-master", version = env!("CARGO_PKG_VERSION"), about = "Ingot's master: who is offered what, and what becomes of it.")]
struct Flags {
    /// Address to listen on, for agents and HTTP alike. Nobody who can reach it is asked who they are.
    #[arg(long, default_value = "127.0.0.1", value_parser = address)]
    ip: IpAddr,
    /// Port to listen on; 0 lets the system choose one.
    #[arg(long, default_value_t = 5050, value_parser = number::<u16>(0, u16::MAX))]
    port: u16,
    /// Address that others are told; that of --ip unless set.
    #[arg(long, value_parser = address)]
    advertise_ip: Option<IpAddr>,
    /// Port that others are told; that of --port unless set.
    #[arg(long, value_parser = number::<u16>(1, u16::MAX))]
    advertise_port: Option<u16>,
    /// Name that others are told; the machine's own, or localhost where --ip is a loopback address.
    #[arg(long)]
    hostname: Option<String>,
    /// Name of the cluster, for people to read.
    #[arg(long)]
    cluster: Option<String>,
    /// Folder for what must outlive the master: the registry, in the file registry.redb.
    #[arg(long)]
    work_dir: Option<PathBuf>,
    /// Masters that follow each other find each other there: zk://[user:pass@]host:port,.../path. Alone unless set.
    #[arg(long, value_parser = zookeeper)]
    zk: Option<ZookeeperUrl>,
    /// How long a leader may be silent before ZooKeeper lets another lead; between 2 and 20 of ZooKeeper's ticks.
    #[arg(long, default_value = "10secs", value_parser = duration_ms)]
    zk_session_timeout: u64,
    /// Where the registry is kept: zookeeper, beside the masters' places; redb, a file in --work_dir; or in_memory (it ends
    /// with the master). Unless set: zookeeper with --zk, else redb with --work_dir, else in_memory.
    #[arg(long)]
    registry: Option<RegistryKind>,
    /// An offer that nobody answers for so long is taken back (as 30secs); never unless set.
    #[arg(long, value_parser = duration_ms)]
    offer_timeout: Option<u64>,
    /// Time between two pings of an agent.
    #[arg(long, default_value = "15secs", value_parser = duration_ms)]
    agent_ping_timeout: u64,
    /// An agent that misses so many pings is unreachable.
    #[arg(long, default_value_t = 5, value_parser = number::<u32>(1, 1_000_000))]
    max_agent_ping_timeouts: u32,
    /// Agents that knew the master before this one may return for so long: of tasks that may be there, nothing is told.
    #[arg(long, default_value = "10mins", value_parser = duration_ms)]
    agent_reregister_timeout: u64,
    /// How fast silent agents are given up, as 1/10mins or 2/3hrs; at once unless set.
    #[arg(long, value_parser = removal_rate)]
    agent_removal_rate_limit: Option<RemovalRate>,
    /// Of the agents in the registry, so many may not be back after --agent-reregister-timeout; with more, this master
    /// gives none of them up, and ends.
    #[arg(long, default_value = "100%", value_parser = percentage)]
    recovery_agent_removal_limit: u8,
    /// A master that follows another makes no offers until 80% of the agents in the registry are back, or for so long.
    #[arg(long, default_value = "30secs", value_parser = duration_ms)]
    recovery_offer_hold: u64,
    /// Frameworks that are kept when they are over.
    #[arg(long, default_value_t = 50, value_parser = number::<usize>(0, KEPT_MAX))]
    max_completed_frameworks: usize,
    /// Tasks that are kept of each framework when they are over.
    #[arg(long, default_value_t = 1000, value_parser = number::<usize>(0, KEPT_MAX))]
    max_completed_tasks_per_framework: usize,
    /// Tasks on unreachable agents that are kept of each framework.
    #[arg(long, default_value_t = 1000, value_parser = number::<usize>(0, KEPT_MAX))]
    max_unreachable_tasks_per_framework: usize,
    /// Weights of roles, as role=2,other/role=0.5; 1 unless set.
    #[arg(long, value_parser = weights)]
    weights: Option<Weights>,
    /// Less than this is not offered: alternatives, each amounts together, as cpus:0.01|mem:32 or cpus:1;mem:64|gpus:1.
    #[arg(long, default_value = "cpus:0.01|mem:32")]
    min_allocatable_resources: Minimums,
    /// More of one agent is not in one offer: a share of what it has, as 0.25, or amounts, as cpus:4;mem:8192; all unless set.
    #[arg(long)]
    offer_slice: Option<Slice>,
    /// Agents with GPUs are offered only to frameworks with the capability GPU_RESOURCES.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    filter_gpu_resources: bool,
    /// In which order roles of one parent are served: drf, random or priority.
    #[arg(long, default_value = "drf")]
    role_policy: Kind,
    /// In which order frameworks of one role are served: drf, random or priority.
    #[arg(long, default_value = "drf")]
    framework_policy: Kind,
    /// Threads that decide who is offered what, each about its share of the agents. One decides about a million offers a
    /// second, more than a master delivers; with several, whose turn it is may be late by 10 ms.
    #[arg(long, default_value = "1", value_parser = number(NonZeroUsize::MIN, WORKERS_MAX))]
    allocator_workers: NonZeroUsize,
    /// Region and zone of this master, as '{"fault_domain": {"region": {"name": "eu"}, "zone": {"name": "eu-1"}}}', or the path of
    /// a file that says so. Agents in other regions are offered only to frameworks that are aware of regions.
    #[arg(long, value_parser = domain)]
    domain: Option<Place>,
    /// Agents that have no --domain may not register.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    require_agent_domain: bool,
    /// Regular expressions in frameworks' offer constraints may take so much each, compiled.
    #[arg(long, default_value = "4KB", value_parser = bytes)]
    offer_constraints_re2_max_mem: usize,
    /// And have so many states: about one a character, ten for a dot.
    #[arg(long, default_value_t = 100, value_parser = number::<usize>(1, 1_000_000))]
    offer_constraints_re2_max_program_size: usize,
    /// Threads that serve HTTP. Each connection stays with one; a second helps where one is busy all the time.
    #[arg(long, default_value_t = 1, value_parser = number::<usize>(1, HTTP_THREADS_MAX))]
    http_threads: usize,
    /// What is logged to standard error: error, warn, info, debug or trace, or a filter such as master::net=debug.
    #[arg(long, default_value = "info")]
    log: String,
}

/// Where the registry is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum RegistryKind {
    InMemory,
    Redb,
    Zookeeper,
}

/// More would tell each other more than they decide.
const WORKERS_MAX: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not zero");
/// More threads than that wait for the cluster's.
const HTTP_THREADS_MAX: usize = 64;

/// As much history as one may ask to be kept.
const KEPT_MAX: usize = 10_000_000;

/// Roles with weights.
type Weights = Arc<BTreeMap<Role, Quantity>>;

/// What the flags mean.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// `None`: what is listened on is told as it is.
    pub advertise_ip: Option<IpAddr>,
    pub advertise_port: Option<u16>,
    pub hostname: Arc<str>,
    pub cluster: Option<Arc<str>>,
    /// Where the master is.
    pub domain: Option<Place>,
    pub settings: Settings,
    pub registry: RegistryKind,
    /// `None`: this master is alone.
    pub zk: Option<ZookeeperUrl>,
    pub zk_session_timeout_ms: u64,
    /// Set where the registry is a file.
    pub work_dir: Option<PathBuf>,
    pub allocation: Options,
    pub weights: BTreeMap<Role, Quantity>,
    pub http_threads: usize,
    /// Of regular expressions in offer constraints.
    pub pattern_limits: Limits,
    /// A filter of `tracing`.
    pub log: String,
    /// Every flag as it is in force, for operators to read.
    pub flags: Vec<(Arc<str>, Arc<str>)>,
}

/// What is parsed, for who tells people of it.
pub fn command() -> clap::Command {
    Flags::command()
}

impl Config {
    /// Reads the command line (its first word is the program) and, for flags that are not on it, the environment.
    ///
    /// The error knows how it is shown, and covers `--help`.
    pub fn parse(
        args: impl IntoIterator<Item = OsString>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, clap::Error> {
        let command = Flags::command();
        let mut args: Vec<OsString> = args.into_iter().map(with_dashes).collect();
        let is_given = |name: &str, args: &[OsString]| {
            let flag = format!("--{name}");
            let is_it = |arg: &OsString| {
                arg.to_str().is_some_and(|arg| arg == flag || arg.starts_with(&format!("{flag}=")))
            };
            args.iter().any(is_it)
        };
        let given = args.clone();
        for name in command.get_arguments().filter_map(|argument| argument.get_long()) {
            let variable = name.replace('-', "_").to_uppercase();
            let value = env(&format!("INGOT_{variable}")).or_else(|| env(&format!("MESOS_{variable}")));
            if let Some(value) = value.filter(|_| !is_given(name, &given)) {
                args.push(format!("--{name}={value}").into());
            }
        }
        let mut matches = command.try_get_matches_from(args)?;
        let flags = Flags::from_arg_matches_mut(&mut matches)?;
        if flags.registry == Some(RegistryKind::Redb) && flags.work_dir.is_none() {
            let why = "--registry=redb needs a folder: --work-dir\n";
            return Err(Flags::command().error(clap::error::ErrorKind::MissingRequiredArgument, why));
        }
        if flags.registry == Some(RegistryKind::Zookeeper) && flags.zk.is_none() {
            let why = "--registry=zookeeper needs to know where that is: --zk\n";
            return Err(Flags::command().error(clap::error::ErrorKind::MissingRequiredArgument, why));
        }
        Ok(Self::of(&flags))
    }

    /// The defaults, on a port that the system chooses: for tests and benchmarks.
    pub fn local() -> Self {
        let args = ["ingot-master", "--port=0"].map(OsString::from);
        Self::parse(args, &|_| None).expect("the defaults are good")
    }

    fn of(flags: &Flags) -> Self {
        let by_folder = if flags.work_dir.is_some() { RegistryKind::Redb } else { RegistryKind::InMemory };
        let by_default = if flags.zk.is_some() { RegistryKind::Zookeeper } else { by_folder };
        let registry = flags.registry.unwrap_or(by_default);
        let hostname = flags.hostname.clone().unwrap_or_else(|| hostname(flags.ip));
        Self {
            listen: SocketAddr::new(flags.ip, flags.port),
            advertise_ip: flags.advertise_ip,
            advertise_port: flags.advertise_port,
            hostname: Arc::from(hostname),
            cluster: flags.cluster.as_deref().map(Arc::from),
            domain: flags.domain.clone(),
            settings: Settings {
                agent_ping_timeout_ms: flags.agent_ping_timeout,
                max_agent_ping_timeouts: flags.max_agent_ping_timeouts,
                agent_reregister_timeout_ms: flags.agent_reregister_timeout,
                offer_timeout_ms: flags.offer_timeout,
                max_completed_frameworks: flags.max_completed_frameworks,
                max_completed_tasks_per_framework: flags.max_completed_tasks_per_framework,
                max_unreachable_tasks_per_framework: flags.max_unreachable_tasks_per_framework,
                agent_removal_rate_limit: flags.agent_removal_rate_limit,
                recovery_agent_removal_limit_percent: flags.recovery_agent_removal_limit,
                offers_held_ms_max: flags.recovery_offer_hold,
                requires_agent_domain: flags.require_agent_domain,
                is_registry_kept: registry != RegistryKind::InMemory,
            },
            registry,
            zk: flags.zk.clone(),
            zk_session_timeout_ms: flags.zk_session_timeout,
            work_dir: flags.work_dir.clone(),
            allocation: Options {
                minimums: flags.min_allocatable_resources.clone(),
                slice: flags.offer_slice.clone(),
                filter_gpu_resources: flags.filter_gpu_resources,
                region: flags.domain.as_ref().map(|place| Arc::clone(&place.region)),
                role_policy: flags.role_policy,
                framework_policy: flags.framework_policy,
                workers: flags.allocator_workers,
            },
            weights: flags.weights.as_deref().cloned().unwrap_or_default(),
            http_threads: flags.http_threads,
            pattern_limits: Limits {
                memory_bytes: flags.offer_constraints_re2_max_mem,
                program_size: flags.offer_constraints_re2_max_program_size,
            },
            log: flags.log.clone(),
            flags: flags.shown(),
        }
    }

    /// What a master with this configuration says of itself. Its id is new.
    pub(crate) fn master_info(&self, listening: SocketAddr, started: UnixTime) -> MasterInfo {
        let ip = self.advertise_ip.unwrap_or(listening.ip());
        let port = self.advertise_port.unwrap_or(listening.port());
        MasterInfo {
            id: MasterId::new(uuid::Uuid::new_v4().to_string()),
            hostname: Arc::clone(&self.hostname),
            address: SocketAddr::new(ip, port),
            cluster: self.cluster.clone(),
            domain: self.domain.clone(),
            version: VERSION,
            started,
            elected: started,
            flags: self.flags.clone(),
            weights: self.weights.clone(),
            quotas: BTreeMap::new(),
        }
    }
}

impl Flags {
    /// Names as Mesos writes them, in alphabetical order, with the values in force.
    fn shown(&self) -> Vec<(Arc<str>, Arc<str>)> {
        let path = |path: &PathBuf| path.display().to_string();
        let weights = |weights: &Weights| {
            let pairs: Vec<_> = weights.iter().map(|(role, weight)| format!("{role}={weight}")).collect();
            pairs.join(",")
        };
        let shown = [
            ("advertise_ip", self.advertise_ip.map(|ip| ip.to_string())),
            ("advertise_port", self.advertise_port.map(|port| port.to_string())),
            ("agent_ping_timeout", Some(shown_ms(self.agent_ping_timeout))),
            (
                "agent_removal_rate_limit",
                self.agent_removal_rate_limit
                    .map(|rate| format!("{}/{}", rate.count, shown_ms(rate.interval_ms))),
            ),
            ("agent_reregister_timeout", Some(shown_ms(self.agent_reregister_timeout))),
            ("allocator_workers", Some(self.allocator_workers.to_string())),
            ("cluster", self.cluster.clone()),
            ("domain", self.domain.as_ref().map(shown_domain)),
            ("filter_gpu_resources", Some(self.filter_gpu_resources.to_string())),
            ("framework_policy", Some(self.framework_policy.to_string())),
            ("hostname", self.hostname.clone()),
            ("http_threads", Some(self.http_threads.to_string())),
            ("ip", Some(self.ip.to_string())),
            ("log", Some(self.log.clone())),
            ("max_agent_ping_timeouts", Some(self.max_agent_ping_timeouts.to_string())),
            ("max_completed_frameworks", Some(self.max_completed_frameworks.to_string())),
            ("max_completed_tasks_per_framework", Some(self.max_completed_tasks_per_framework.to_string())),
            (
                "max_unreachable_tasks_per_framework",
                Some(self.max_unreachable_tasks_per_framework.to_string()),
            ),
            ("min_allocatable_resources", Some(self.min_allocatable_resources.to_string())),
            ("offer_constraints_re2_max_mem", Some(shown_bytes(self.offer_constraints_re2_max_mem))),
            (
                "offer_constraints_re2_max_program_size",
                Some(self.offer_constraints_re2_max_program_size.to_string()),
            ),
            ("offer_slice", self.offer_slice.as_ref().map(ToString::to_string)),
            ("offer_timeout", self.offer_timeout.map(shown_ms)),
            ("port", Some(self.port.to_string())),
            ("recovery_agent_removal_limit", Some(format!("{}%", self.recovery_agent_removal_limit))),
            ("recovery_offer_hold", Some(shown_ms(self.recovery_offer_hold))),
            (
                "registry",
                self.registry.and_then(|kind| Some(kind.to_possible_value()?.get_name().to_owned())),
            ),
            ("require_agent_domain", Some(self.require_agent_domain.to_string())),
            ("role_policy", Some(self.role_policy.to_string())),
            ("weights", self.weights.as_ref().map(weights)),
            ("work_dir", self.work_dir.as_ref().map(path)),
            ("zk", self.zk.as_ref().map(ToString::to_string)),
            ("zk_session_timeout", self.zk.as_ref().map(|_| shown_ms(self.zk_session_timeout))),
        ];
        let set = shown.into_iter().filter_map(|(name, value)| Some((Arc::from(name), Arc::from(value?))));
        set.collect()
    }
}

/// `--work_dir=x` as `--work-dir=x`; values are left alone.
fn with_dashes(arg: OsString) -> OsString {
    let Some(text) = arg.to_str().filter(|text| text.starts_with("--")) else { return arg };
    let (name, value) = text.find('=').map_or((text, ""), |at| text.split_at(at));
    (name.replace('_', "-") + value).into()
}

fn hostname(ip: IpAddr) -> String {
    let machine = || std::fs::read_to_string("/proc/sys/kernel/hostname");
    match machine() {
        Ok(name) if !ip.is_loopback() => name.trim().to_owned(),
        _ => "localhost".to_owned(),
    }
}

/// Whole numbers between the two, both allowed.
fn number<N>(min: N, max: N) -> impl Fn(&str) -> Result<N, String> + Clone
where
    N: Copy + PartialOrd + std::fmt::Display + std::str::FromStr + Send + Sync,
{
    move |text| match text.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("allowed is a whole number from {min} to {max}")),
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "allowed is an IP address, such as 127.0.0.1, 0.0.0.0 or ::1".to_owned())
}

/// Mesos' units of time, and the usual short ones; in milliseconds.
const UNITS: [(&str, f64); 12] = [
    ("ns", 1e-6),
    ("us", 1e-3),
    ("ms", 1.0),
    ("secs", 1e3),
    ("s", 1e3),
    ("mins", 6e4),
    ("m", 6e4),
    ("hrs", 3.6e6),
    ("h", 3.6e6),
    ("days", 8.64e7),
    ("d", 8.64e7),
    ("weeks", 6.048e8),
];

/// A span such as `15secs`, `1.5mins` or `500ms`, at least a millisecond and at most 365 days.
fn duration_ms(text: &str) -> Result<u64, String> {
    const ALLOWED: &str = "a number and a unit, from 1ms to 365days, such as 500ms, 15secs, 1.5mins, 2hrs";
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| scale);
    let ms = number.parse::<f64>().ok().zip(scale).map(|(number, scale)| number * scale);
    match ms.filter(|ms| (1.0..=365.0 * 8.64e7).contains(ms)) {
        Some(ms) => Ok(ms.round() as u64),
        None => Err(format!("allowed is {ALLOWED}")),
    }
}

/// JSON, or the path of a file that has it.
fn domain(given: &str) -> Result<Place, String> {
    let path = given.strip_prefix("file://").unwrap_or(given);
    let text = match path.starts_with('/') {
        true => std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?,
        false => given.to_owned(),
    };
    let domain = api::convert::agent::domain(&text)?.fault_domain.expect("what has none is refused");
    Ok(Place { region: domain.region.name.into(), zone: domain.zone.name.into() })
}

fn shown_domain(Place { region, zone }: &Place) -> String {
    let domain = api::convert::agent::domain_of(region, zone);
    String::from_utf8_lossy(&api::json::to_vec(&domain)).into_owned()
}

/// Mesos' units of size, each 1024 of the one before.
const SIZES: [(&str, u32); 4] = [("GB", 30), ("MB", 20), ("KB", 10), ("B", 0)];

/// A whole number of bytes, at least one and less than a TiB.
fn bytes(text: &str) -> Result<usize, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = SIZES.iter().find(|(name, _)| *name == unit).map(|(_, shift)| shift);
    let size =
        number.parse::<usize>().ok().zip(shift).and_then(|(number, shift)| number.checked_mul(1 << shift));
    let allowed = "allowed is a whole number and a unit, from 1B to 1023GB, such as 4KB";
    size.filter(|size| (1..1 << 40).contains(size)).ok_or_else(|| allowed.to_owned())
}

fn shown_bytes(bytes: usize) -> String {
    let fits = |(_, shift): &&(&str, u32)| bytes.trailing_zeros() >= *shift;
    let (unit, shift) = SIZES.iter().find(fits).expect("any number is one of bytes");
    format!("{}{unit}", bytes >> shift)
}

fn zookeeper(text: &str) -> Result<ZookeeperUrl, String> {
    text.parse().map_err(|error: leader::url::UrlError| error.to_string())
}

/// Mesos writes it as `1/10mins`.
fn removal_rate(text: &str) -> Result<RemovalRate, String> {
    let allowed = || "allowed is NUMBER/TIME, such as 1/10mins".to_owned();
    let (count, interval) = text.split_once('/').ok_or_else(allowed)?;
    let count = count.parse().ok().filter(|count| *count > 0).ok_or_else(allowed)?;
    Ok(RemovalRate { count, interval_ms: duration_ms(interval)? })
}

fn percentage(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').and_then(|number| number.parse().ok());
    number.filter(|it| *it <= 100).ok_or_else(|| "allowed is a whole percentage from 0% to 100%".to_owned())
}

fn shown_ms(ms: u64) -> String {
    if ms.is_multiple_of(1000) { format!("{}secs", ms / 1000) } else { format!("{ms}ms") }
}

fn weights(text: &str) -> Result<Weights, String> {
    let mut weights = BTreeMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (role, weight) = pair.split_once('=').ok_or(format!("'{pair}' is not ROLE=WEIGHT"))?;
        let role = Role::parse(role.trim()).map_err(|error| error.to_string())?;
        let weight: Quantity = weight.trim().parse().map_err(|error| format!("weight {error}"))?;
        if weight.is_zero() {
            return Err(format!("the weight of '{role}' must be greater than 0"));
        }
        if weights.insert(role.clone(), weight).is_some() {
            return Err(format!("'{role}' has two weights"));
        }
    }
    Ok(Arc::new(weights))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str], env: &[(&str, &str)]) -> Result<Config, String> {
        let args = ["ingot-master"].iter().chain(args).map(OsString::from);
        let env =
            |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Config::parse(args, &env).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_are_written_in_either_style_and_go_before_the_environment() {
        let env = [("MESOS_PORT", "1"), ("INGOT_PORT", "2"), ("MESOS_AGENT_PING_TIMEOUT", "500ms")];
        let config =
            parse(&["--max_agent_ping_timeouts=7", "--offer-timeout", "1.5mins"], &env).expect("good");
        assert_eq!(config.listen.port(), 2);
        assert_eq!(config.settings.agent_ping_timeout_ms, 500);
        assert_eq!(config.settings.max_agent_ping_timeouts, 7);
        assert_eq!(config.settings.offer_timeout_ms, Some(90_000));
        assert_eq!(parse(&["--port=3"], &env).expect("good").listen.port(), 3);
        let shown = |name: &str| {
            config.flags.iter().find(|(known, _)| &**known == name).map(|(_, value)| value.to_string())
        };
        assert_eq!(shown("agent_ping_timeout").as_deref(), Some("500ms"));
        assert_eq!(shown("cluster"), None);
    }

    /// Each names the flag, the value, and what is allowed.
    #[test]
    fn a_bad_flag_says_what_is_wrong() {
        for (args, env, says) in [
            (&["--port=70000"][..], &[][..], &["--port", "70000", "65535"][..]),
            (&["--ip=here"], &[], &["--ip", "here", "IP address"]),
            (&["--agent-ping-timeout=15"], &[], &["--agent-ping-timeout", "'15'", "15secs"]),
            (&["--offer_timeout=0secs"], &[], &["--offer-timeout", "0secs", "1ms"]),
            (&["--max-agent-ping-timeouts=0"], &[], &["--max-agent-ping-timeouts", "'0'", "from 1 to"]),
            (&["--weights=eng=x"], &[], &["--weights", "eng=x", "not a number"]),
            (&["--weights=eng"], &[], &["--weights", "ROLE=WEIGHT"]),
            (
                &["--min-allocatable-resources=gpus:1;gpus:2"],
                &[],
                &["--min-allocatable-resources", "gpus", "asked for twice"],
            ),
            (&["--offer_slice=2"], &[], &["--offer-slice", "from 0.001 to 1"]),
            (&["--domain={}"], &[], &["--domain", "must define `fault_domain`"]),
            (&["--offer_constraints_re2_max_mem=0B"], &[], &["--offer-constraints-re2-max-mem", "4KB"]),
            (&["--filter_gpu_resources=maybe"], &[], &["--filter-gpu-resources", "maybe"]),
            (&["--agent_removal_rate_limit=1"], &[], &["--agent-removal-rate-limit", "1/10mins"]),
            (&["--recovery_agent_removal_limit=101%"], &[], &["--recovery-agent-removal-limit", "100%"]),
            (&["--registry=redb"], &[], &["--registry=redb", "--work-dir"]),
            (&["--registry=zookeeper"], &[], &["--registry=zookeeper", "--zk"]),
            (&["--zk=zk://user:secret@a:1"], &[], &["--zk", "has no path"]),
            (&["--registry=etcd"], &[], &["--registry", "in_memory", "redb"]),
            (&["--nonsense=1"], &[], &["--nonsense"]),
            (&[], &[("MESOS_PORT", "x")], &["--port", "'x'", "from 0 to 65535"]),
        ] {
            let error = parse(args, env).expect_err("bad");
            assert!(says.iter().all(|part| error.contains(part)), "{args:?}: {error}");
        }
    }

    #[test]
    fn weights_and_minima_are_read() {
        let args = [
            "--weights=eng=2, eng/web=0.5",
            "--min_allocatable_resources=cpus:0.5;gpus:1|licences:1",
            "--offer_slice=0.25",
            "--filter_gpu_resources=false",
        ];
        let config = parse(&args, &[]).expect("good");
        let eng = Role::parse("eng").expect("a role");
        assert_eq!(config.weights[&eng], Quantity::from_units(2));
        assert_eq!(config.allocation.minimums.to_string(), "cpus:0.5;gpus:1|licences:1");
        assert_eq!(config.allocation.slice, Some(Slice::Share(Quantity::from_milli(250))));
        assert!(!config.allocation.filter_gpu_resources);
        let default = parse(&[], &[]).expect("good").allocation;
        assert_eq!(default, Options::default());
    }
}
