//! What the operator says: flags, each also readable from the environment under Mesos' name for it, parsed once.
//!
//! Names, units and defaults are those of Mesos' agent where it has the same flag. Both spellings, `--work-dir` and
//! `--work_dir`, are taken.

mod collector;
mod devices;
pub mod estimator;
mod fetcher;
mod images;
pub mod isolation;
mod limits;
mod logger;
mod offered;
mod qos;

use crate::bpf::{Options, Pins};
use crate::config::collector::CollectorFlags;
use crate::config::estimator::EstimatorFlags;
use crate::config::fetcher::FetcherFlags;
use crate::config::images::ImageFlags;
use crate::config::isolation::IsolationFlags;
use crate::config::limits::LimitFlags;
use crate::config::logger::LoggerFlags;
use crate::config::qos::QosFlags;
use crate::duration;
use crate::node::compatibility::Policy;
use crate::node::settings::Settings;
use api::v1;
use clap::{Parser, ValueEnum};
use leader::url::Masters;
use model::resources::{Reservation, Resource, Resources};
use model::role::Role;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// The version of Mesos whose language is spoken: clients compare it.
pub const MESOS_VERSION: &str = "1.11.0";

/// The Ingot agent: runs tasks in containers, enforces their limits, measures what they use.
#[derive(Clone, Debug, Parser)]
#[command(name = "ingot-agent", version)]
pub struct Config {
    /// The master: host:port, a list of these (who leads is asked of them), or zk://[user:pass@]host:port,.../path
    #[arg(long, env = "MESOS_MASTER")]
    pub master: Masters,

    /// Address to listen on, and under which others reach this agent [default: the one that the master is reached from]
    #[arg(long, env = "MESOS_IP")]
    pub ip: Option<IpAddr>,

    /// Port to listen on; 0: any that is free
    #[arg(long, env = "MESOS_PORT", default_value_t = 5051)]
    pub port: u16,

    /// Name under which frameworks and people reach this agent [default: the machine's, "localhost" on a loopback address]
    #[arg(long, env = "MESOS_HOSTNAME")]
    pub hostname: Option<String>,

    /// Where sandboxes and checkpoints are kept
    #[arg(long, env = "MESOS_WORK_DIR", default_value = "/var/lib/ingot/agent")]
    pub work_dir: PathBuf,

    /// What tasks may use, as "cpus:4;mem:1024;disk:10240;ports:[31000-32000];names:{a,b}", or as JSON, or the path of a file
    /// that says so; what is not named is found out
    #[arg(long, env = "MESOS_RESOURCES", value_parser = offered::parse_resources)]
    pub resources: Option<Resources>,

    /// What frameworks may choose this agent by, as "rack:r1;cores:8;disks:[1-4]", or the path of a file that says so
    #[arg(long, env = "MESOS_ATTRIBUTES", default_value = "", value_parser = offered::parse_attributes)]
    pub attributes: Attributes,

    /// Region and zone in which the machine stands, as '{"fault_domain": {"region": {"name": "eu"}, "zone": {"name": "eu-1"}}}',
    /// or the path of a file that says so
    #[arg(long, env = "MESOS_DOMAIN", value_parser = offered::parse_domain)]
    pub domain: Option<api::v1::DomainInfo>,

    /// Role that resources without one are reserved for; "*": nobody
    #[arg(long, env = "MESOS_DEFAULT_ROLE", default_value = "*", value_parser = parse_role)]
    pub default_role: Role,

    /// How long a launched executor may take to subscribe
    #[arg(long, env = "MESOS_EXECUTOR_REGISTRATION_TIMEOUT",
          default_value = "1mins", value_parser = duration::parse_ms, value_name = "DURATION")]
    pub executor_registration_timeout: u64,

    /// How long executors may take to come back after a restart of the agent; at most 15secs
    #[arg(long, env = "MESOS_EXECUTOR_REREGISTRATION_TIMEOUT",
          default_value = "2secs", value_parser = parse_reregistration, value_name = "DURATION")]
    pub executor_reregistration_timeout: u64,

    /// How long an executor may take to end after it was told to
    #[arg(long, env = "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD",
          default_value = "5secs", value_parser = duration::parse_ms, value_name = "DURATION")]
    pub executor_shutdown_grace_period: u64,

    /// First bound of the random wait before the master is dialled again; it doubles up to 1mins
    #[arg(long, env = "MESOS_REGISTRATION_BACKOFF_FACTOR",
          default_value = "1secs", value_parser = duration::parse_ms, value_name = "DURATION")]
    pub registration_backoff_factor: u64,

    /// How long executors of checkpointing frameworks wait for a restarted agent before they end themselves
    #[arg(long, env = "MESOS_RECOVERY_TIMEOUT",
          default_value = "15mins", value_parser = duration::parse_ms, value_name = "DURATION")]
    pub recovery_timeout: u64,

    /// What may have changed about an agent that comes back with its old id and tasks: nothing ("equal"), or there may be
    /// more of everything ("additive")
    #[arg(long, env = "MESOS_RECONFIGURATION_POLICY", value_enum,
          default_value_t = Reconfiguration::Equal)]
    pub reconfiguration_policy: Reconfiguration,

    /// Run executors as the user that their framework names [default: true for root]
    #[arg(long, env = "MESOS_SWITCH_USER", num_args = 0..=1, default_missing_value = "true")]
    pub switch_user: Option<bool>,

    /// Variables for every executor, as a JSON object of strings
    #[arg(long, env = "MESOS_EXECUTOR_ENVIRONMENT_VARIABLES",
          default_value = "{}", value_parser = parse_environment, value_name = "JSON")]
    pub executor_environment_variables: Environment,

    #[command(flatten)]
    pub isolation: IsolationFlags,

    /// Name of the agent's own cgroup, below which its containers are [default: ingot-PORT]
    #[arg(long, env = "MESOS_CGROUPS_ROOT")]
    pub cgroups_root: Option<String>,

    #[command(flatten)]
    pub limits: LimitFlags,

    /// Measure containers by BPF programs in the kernel
    #[arg(long, env = "INGOT_BPF", value_enum, default_value_t = Switch::On)]
    pub bpf: Switch,

    /// Where what BPF counts outlives the agent: a directory in a bpffs, "usual" (in /sys/fs/bpf, or in a bpffs that the
    /// agent mounts at /run/ingot/bpf), or "off"
    #[arg(long, env = "INGOT_BPF_PINS", default_value = "usual", value_name = "DIRECTORY")]
    pub bpf_pins: PathBuf,

    /// Most containers that the BPF programs count at a time; those beyond are measured by files only [default: 8192]
    #[arg(long, env = "INGOT_BPF_CONTAINERS_MAX", value_parser = clap::value_parser!(u32).range(1..=1_000_000),
          value_name = "NUMBER")]
    pub bpf_containers_max: Option<u32>,

    /// How often the master is told what containers use
    #[arg(long, env = "INGOT_USAGE_INTERVAL", default_value = "1secs", value_parser = parse_interval, value_name = "DURATION")]
    pub usage_interval: u64,

    #[command(flatten)]
    pub estimator: EstimatorFlags,

    #[command(flatten)]
    pub fetcher: FetcherFlags,

    #[command(flatten)]
    pub images: ImageFlags,

    #[command(flatten)]
    pub collector: CollectorFlags,

    #[command(flatten)]
    pub logger: LoggerFlags,

    #[command(flatten)]
    pub qos: QosFlags,

    /// What is logged, as "info" or "agent=debug,warn"
    #[arg(long, env = "INGOT_LOG", default_value = "info")]
    pub log: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Reconfiguration {
    Equal,
    Additive,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

#[derive(Clone, Debug, Default)]
pub struct Attributes {
    pub text: String,
    pub list: Vec<v1::Attribute>,
}

#[derive(Clone, Debug, Default)]
pub struct Environment(pub BTreeMap<String, String>);

/// `--work_dir=x` as `--work-dir=x`; values are left alone.
fn with_dashes(argument: OsString) -> OsString {
    let Some(text) = argument.to_str().filter(|text| text.starts_with("--")) else { return argument };
    let (name, value) = text.find('=').map_or((text, ""), |at| text.split_at(at));
    (name.replace('_', "-") + value).into()
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::parse(text).map_err(|why| why.to_string())
}

fn parse_reregistration(text: &str) -> Result<u64, String> {
    match duration::parse_ms(text)? {
        ms @ 1..=15_000 => Ok(ms),
        _ => Err("expected more than 0ns and at most 15secs".to_owned()),
    }
}

fn parse_interval(text: &str) -> Result<u64, String> {
    match duration::parse_ms(text)? {
        ms @ 100..=60_000 => Ok(ms),
        _ => Err("expected 100ms to 1mins".to_owned()),
    }
}

fn parse_environment(text: &str) -> Result<Environment, String> {
    serde_json::from_str(text)
        .map(Environment)
        .map_err(|_| "expected a JSON object of strings (such as '{\"TZ\": \"UTC\"}')".to_owned())
}

impl Config {
    /// A place in the network that the agent's own address is to be reached from: a master's, or that of who knows it.
    pub fn towards(&self) -> String {
        let places = match &self.master {
            Masters::Zookeeper(url) => &url.servers,
            Masters::Addresses(places) => places,
        };
        places.first().map(ToString::to_string).unwrap_or_default()
    }

    /// The master's name, where it is known without asking.
    pub fn master_host(&self) -> Option<&str> {
        match &self.master {
            Masters::Addresses(places) if places.len() == 1 => Some(&places[0].host),
            _ => None,
        }
    }

    pub(crate) fn reconfiguration(&self) -> Policy {
        match self.reconfiguration_policy {
            Reconfiguration::Equal => Policy::Equal,
            Reconfiguration::Additive => Policy::Additive,
        }
    }

    /// How BPF programs are to be loaded.
    pub(crate) fn bpf_options(&self, memory_controller: bool) -> Options<'_> {
        let pins = match self.bpf_pins.to_str() {
            Some("off") => Pins::None,
            Some("usual") => Pins::Usual,
            _ => Pins::Below(&self.bpf_pins),
        };
        let containers_max = self.bpf_containers_max;
        Options { pins, containers_max, memory_controller, ..Options::default() }
    }

    /// Reads the command line, whose first word is the program. The error knows how it is shown, and covers `--help`.
    pub fn of(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(arguments.into_iter().map(with_dashes))
    }

    pub fn settings(&self) -> Settings {
        Settings {
            executor_registration_timeout_ms: self.executor_registration_timeout,
            executor_reregistration_timeout_ms: self.executor_reregistration_timeout,
            executor_shutdown_grace_ms: self.executor_shutdown_grace_period,
            registration_backoff_ms: self.registration_backoff_factor,
            ..Settings::default()
        }
    }

    /// What was given, and what was found for the rest, in `--default-role`.
    pub fn total(&self, found: &Resources) -> Resources {
        let given = self.resources.clone().unwrap_or_default();
        let names: Vec<_> = given.iter().map(|part| part.name.clone()).collect();
        let rest = found.iter().filter(|part| !names.contains(&part.name));
        given.iter().chain(rest).cloned().map(|part| self.in_default_role(part)).collect()
    }

    fn in_default_role(&self, mut part: Resource) -> Resource {
        if part.reservations.is_empty() && !self.default_role.is_star() {
            let role = self.default_role.clone();
            part.reservations.push(Reservation {
                role,
                is_dynamic: false,
                principal: None,
                labels: Vec::new(),
            });
        }
        part
    }

    pub fn switches_user(&self) -> bool {
        self.switch_user.unwrap_or_else(|| nix::unistd::geteuid().is_root())
    }

    /// By name, as `/flags` and `/state` show them. `ip`, `port` and `hostname` as they turned out.
    pub fn shown(&self, at: std::net::SocketAddr, hostname: &str) -> BTreeMap<&'static str, String> {
        let time = duration::show_ms;
        let mut flags = BTreeMap::from([
            ("attributes", self.attributes.text.clone()),
            ("default_role", self.default_role.to_string()),
            ("executor_registration_timeout", time(self.executor_registration_timeout)),
            ("executor_reregistration_timeout", time(self.executor_reregistration_timeout)),
            ("executor_shutdown_grace_period", time(self.executor_shutdown_grace_period)),
            ("hostname", hostname.to_owned()),
            ("ip", at.ip().to_string()),
            ("master", self.master.to_string()),
            ("port", at.port().to_string()),
            ("recovery_timeout", time(self.recovery_timeout)),
            ("registration_backoff_factor", time(self.registration_backoff_factor)),
            ("switch_user", self.switches_user().to_string()),
            ("work_dir", self.work_dir.display().to_string()),
            ("bpf", if self.bpf == Switch::On { "on" } else { "off" }.to_owned()),
            ("bpf_pins", self.bpf_pins.display().to_string()),
            ("usage_interval", time(self.usage_interval)),
        ]);
        self.collector.shown(&mut flags);
        self.logger.shown(&mut flags);
        self.estimator.shown(&mut flags);
        self.limits.shown(&mut flags);
        self.qos.shown(&mut flags);
        self.isolation.shown(&mut flags);
        self.fetcher.shown(&self.work_dir, &mut flags);
        self.images.shown(&self.work_dir, &mut flags);
        if let Some(resources) = &self.resources {
            flags.insert("resources", resources.to_string());
        }
        if let Some(domain) = &self.domain {
            flags.insert("domain", String::from_utf8_lossy(&api::json::to_vec(domain)).into_owned());
        }
        if let Some(most) = self.bpf_containers_max {
            flags.insert("bpf_containers_max", most.to_string());
        }
        if let Some(root) = &self.cgroups_root {
            flags.insert("cgroups_root", root.clone());
        }
        flags
    }
}

/// Where nothing else is known.
pub const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Config, String> {
        let has_master = arguments.iter().any(|argument| argument.starts_with("--master"));
        let master = (!has_master).then_some("--master=127.0.0.1:5050");
        let all = ["ingot-agent"].into_iter().chain(master).chain(arguments.iter().copied());
        Config::of(all.map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_bad_flag_names_itself_its_value_and_what_is_allowed() {
        for (argument, parts) in [
            ("--resources=cpus", ["--resources", "cpus", "such as 'cpus:4;"]),
            (
                "--executor-registration-timeout=1",
                ["--executor-registration-timeout", "'1'", "such as '5secs'"],
            ),
            (
                "--executor_reregistration_timeout=1mins",
                ["--executor-reregistration-timeout", "1mins", "at most 15secs"],
            ),
            ("--isolation=docker", ["--isolation", "docker", "namespaces/pid"]),
            ("--effective-capabilities={}", ["--effective-capabilities", "{}", "CHOWN"]),
            ("--master=http://a", ["--master", "http://a", "host:port"]),
            ("--attributes=rack", ["--attributes", "rack", "such as 'rack:r1"]),
            ("--bpf_containers_max=0", ["--bpf-containers-max", "'0'", "1..=1000000"]),
            ("--fetcher-cache-size=2", ["--fetcher-cache-size", "'2'", "such as '2GB'"]),
            ("--container-logger=syslog", ["--container-logger", "syslog", "sandbox, rotating"]),
            (
                "--container-logger-max-stdout-size=1KB",
                ["--container-logger-max-stdout-size", "1KB", "4096B or more"],
            ),
            ("--image-providers=appc", ["--image-providers", "'appc'", "Appc images are not supported"]),
            ("--docker-registry=https://x", ["--docker-registry", "https://x", "expected a folder"]),
            ("--image-provisioner-backend=copy", ["--image-provisioner-backend", "copy", "expected overlay"]),
            ("--image-gc-config={}", ["--image-gc-config", "image_disk_headroom", "such as '{"]),
            ("--gc-disk-headroom=1.5", ["--gc-disk-headroom", "'1.5'", "0 to 1"]),
            ("--cgroups-cpuset-cpus=3-1", ["--cgroups-cpuset-cpus", "3-1", "such as '0-3,8'"]),
            ("--cgroups-io-max=8:0 rbps=0", ["--cgroups-io-max", "rbps=0", "wiops=120"]),
            ("--cgroups-hugetlb-max=2MB", ["--cgroups-hugetlb-max", "2MB", "2MB=67108864"]),
            ("--cgroups-memory-high-percent=0", ["--cgroups-memory-high-percent", "'0'", "1..=100"]),
            ("--allowed-devices={}x", ["--allowed-devices", "{}x", "\"allowed_devices\""]),
            (
                "--allowed-devices={\"allowed_devices\":[{\"device\":{\"path\":\"/etc/passwd\"},\"access\":{\"read\":true}}]}",
                ["--allowed-devices", "/etc/passwd", "is no device"],
            ),
            ("--estimator-floor=NaN", ["--estimator-floor", "NaN", "0 to 1"]),
            ("--estimator-step=1ms", ["--estimator-step", "1ms", "1secs to 1hrs"]),
            ("--estimator-resources=ports:[1-2]", ["--estimator-resources", "ports", "cpus and mem only"]),
            ("--resource-estimator=load", ["--resource-estimator", "load", "none, fixed, usage"]),
            ("--qos-psi=101", ["--qos-psi", "101", "0..=100"]),
            ("--usage-interval=1us", ["--usage-interval", "1us", "100ms to 1mins"]),
        ] {
            let told = match parse(&[argument]) {
                Err(told) => told,
                Ok(_) => panic!("{argument} was taken"),
            };
            for part in parts {
                assert!(told.contains(part), "{argument}: '{told}' does not say '{part}'");
            }
        }
    }

    #[test]
    fn what_is_not_given_is_what_was_found() {
        let config = parse(&["--resources=cpus:2;disk(eng):5", "--default-role=ops"]).expect("good flags");
        let found = "cpus:64;mem:1000;ports:[1-2]".parse().expect("resources");
        assert_eq!(
            config.total(&found).to_string(),
            "cpus(ops):2; disk(eng):5; mem(ops):1000; ports(ops):[1-2]"
        );
    }
}
