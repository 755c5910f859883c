//! Facts made from what a real Mesos said of an agent of its (`tests/golden/agent-v1-GET_STATE.json`), so that our
//! documents can be held against those that the same Mesos wrote.

use super::{Answer, Facts, Figures, Known, Later, answer, files::Done};
use crate::accounting::losses::Loss;
use crate::bpf::hold::Egress;
use crate::bpf::{Cost, Reason, Support};
use crate::cgroup::knobs::Limits;
use crate::cgroup::{Enforced, Enforcement};
use crate::doctor::Machine;
use crate::estimator::qos::{Cause, Decision, Record, Step, Targets};
use crate::node::counters::Counters;
use crate::node::drain::Drain;
use crate::node::view::{ExecutorView, FrameworkView, TaskView};
use crate::runtime::qos::{Method, View};
use api::convert::{agent, executor, framework, resources, status, time};
use api::legacy::{Gauge, Reply};
use api::v1::agent::Response;
use api::v1::agent::response::GetState;
use api::{json, protobuf, v1};
use bytes::Bytes;
use model::agent_info::AgentInfo;
use model::body::Body;
use model::executor::ExecutorInfo;
use model::framework::FrameworkInfo;
use model::id::{AgentId, ContainerId};
use model::latency::Latency;
use model::resources::Resources;
use model::task::{TaskInfo, TaskState, TaskStatus};
use model::time::{Time, UnixTime};
use model::usage::{Detail, NodeUsage, Source, Sources, Usage};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

pub(super) fn golden(name: &str) -> Value {
    let path = format!("{}/tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_slice(&text).expect("a recorded answer is JSON")
}

/// What views are borrowed from.
pub(super) struct Scene {
    pub(super) agent_id: AgentId,
    pub(super) info: AgentInfo,
    pub(super) frameworks: Vec<Framework>,
    pub(super) completed_frameworks: Vec<Framework>,
    pub(super) flags: BTreeMap<&'static str, String>,
    pub(super) work_dir: PathBuf,
    pub(super) log: Option<PathBuf>,
    pub(super) enforcement: Enforcement,
    pub(super) support: Support,
    pub(super) machine: Machine,
    pub(super) usage: Option<Usage>,
    pub(super) detail: Detail,
    pub(super) node: NodeUsage,
    pub(super) draining: Option<Drain>,
    pub(super) oversubscribed: Resources,
    pub(super) gauges: Vec<Gauge>,
}

/// A machine on which a revocable container was throttled once.
fn quality() -> View {
    let cause =
        Cause::Waits { container_id: ContainerId::new("web"), p99_ns: 21_000_000, target_ns: 10_000_000 };
    let decision = Decision {
        at: UnixTime(1_500_000),
        step: Step::Throttle,
        share_permille: 500,
        container_id: None,
        cause: Some(cause),
        held_at: Time(0),
        is_first: true,
    };
    let mut to_action = Latency::default();
    to_action.record(15_000_000);
    View {
        targets: Targets {
            wait_p99_ns: Some(10_000_000),
            pressure_permille: None,
            headroom_bytes: Some(1 << 28),
            kill_after_ns: 10_000_000_000,
        },
        method: Method::DutyCycle,
        resting: "SCHED_IDLE",
        share_permille: 500,
        lent: vec![ContainerId::new("batch")],
        blind: Vec::new(),
        record: Record { counts: [(Step::Throttle, 1)].into(), decisions: [decision].into() },
        to_action,
        to_kill: Latency::default(),
    }
}

pub(super) struct Framework {
    pub(super) info: FrameworkInfo,
    pub(super) executors: Vec<Executor>,
    pub(super) completed: Vec<Executor>,
}

pub(super) struct Executor {
    pub(super) info: ExecutorInfo,
    pub(super) container_id: ContainerId,
    pub(super) pid: Option<u32>,
    pub(super) is_command: bool,
    pub(super) is_ended: bool,
    pub(super) tasks: Vec<Task>,
    pub(super) queued: Vec<Task>,
    pub(super) completed: Vec<Task>,
}

#[derive(Clone)]
pub(super) struct Task {
    pub(super) info: TaskInfo,
    pub(super) state: TaskState,
    pub(super) statuses: Vec<TaskStatus>,
}

impl Scene {
    pub(super) fn recorded() -> Self {
        let text = golden("agent-v1-GET_STATE").to_string();
        let state: Response = json::from_slice(text.as_bytes()).expect("a recorded answer");
        let state = state.get_state.expect("it is GET_STATE's");
        let frameworks = state.get_frameworks.clone().expect("frameworks");
        let all = |frameworks: &[v1::agent::response::get_frameworks::Framework]| {
            frameworks.iter().map(|of| framework_of(&of.framework_info, &state)).collect()
        };
        let flags = golden("agent-flags")["flags"].as_object().expect("flags by name").clone();
        let flag = |(name, value): (String, Value)| -> (&'static str, String) {
            (String::leak(name), value.as_str().expect("text").to_owned())
        };
        let flags: BTreeMap<_, _> = flags.into_iter().map(flag).collect();
        let attributes = agent::attributes(&flags["attributes"]).expect("recorded attributes");
        Self {
            oversubscribed: Resources::default(),
            agent_id: AgentId::new("525336c2-7960-46c8-a5c3-2db421b25845-S0"),
            info: AgentInfo {
                hostname: "localhost".into(),
                address: ([127, 0, 0, 1], 5050).into(),
                total: flags["resources"].parse().expect("recorded resources"),
                boot_id: "boot".into(),
                version: "1.11.0".into(),
                body: agent::body_of(attributes, None),
            },
            frameworks: all(&frameworks.frameworks),
            completed_frameworks: all(&frameworks.completed_frameworks),
            work_dir: flags["work_dir"].clone().into(),
            flags,
            log: None,
            enforcement: Enforcement {
                cpu: Enforced::Yes,
                ..Enforcement::none("cgroup v1 holds the controller at /sys/fs/cgroup/memory")
            },
            support: Support::nothing(Reason::NotPermitted(vec!["CAP_BPF"])),
            machine: Machine::default(),
            usage: Some(Usage {
                cpu_user_ns: 90_000_000,
                cpu_system_ns: 20_000_000,
                memory_current_bytes: 32_296_960,
                processes: 2,
                threads: 5,
                sources: Sources { cpu: Source::Cgroup, memory: Source::Proc, ..Sources::default() },
                ..Usage::default()
            }),
            detail: Detail::default(),
            node: NodeUsage {
                cpu_ns: 5_000_000_000,
                load1_milli: 1_250,
                sources: Sources { cpu: Source::Proc, ..Sources::default() },
                ..NodeUsage::default()
            },
            draining: None,
            gauges: Vec::new(),
        }
    }

    pub(super) fn with_facts<T>(&self, see: impl FnOnce(&Facts<'_>) -> T) -> T {
        let figures = |id: &ContainerId| {
            let known = self.executors().any(|executor| executor.container_id == *id);
            let limits = Limits {
                cpus_milli: 200,
                cpus_revocable_milli: 0,
                cpus_max_milli: None,
                cpus_burst_milli: None,
                memory_bytes: 64 << 20,
                memory_max_bytes: Some(64 << 20),
                memory_high_bytes: None,
                swap_max_bytes: 0,
                pids_max: None,
                egress_max_bytes: Some(4 << 20),
            };
            let usage = self.usage.filter(|_| known)?;
            Some(Figures {
                usage,
                detail: self.detail.clone(),
                taken: time::moment(1_795_331_048.687_483),
                limits,
                egress: Some(Egress { bytes_per_second: 4 << 20, dropped_packets: 3, ..Egress::default() }),
            })
        };
        see(&Facts {
            known: Known {
                agent_id: Some(&self.agent_id),
                info: &self.info,
                is_registered: true,
                draining: self.draining,
                counters: &Counters::default(),
                used: Later::new(Box::new(|| self.used())),
                oversubscribed: &self.oversubscribed,
                frameworks: Later::new(Box::new(|| views(&self.frameworks))),
                completed_frameworks: Later::new(Box::new(|| views(&self.completed_frameworks))),
            },
            now: time::moment(1_795_331_048.7),
            started: time::moment(1_795_330_994.548_939),
            version: "1.11.0",
            flags: &self.flags,
            work_dir: &self.work_dir,
            log: self.log.as_deref(),
            master_hostname: Some("localhost"),
            enforcement: &self.enforcement,
            cgroup_root: None,
            bpf: &self.support,
            machine: &self.machine,
            figures: &figures,
            nested: &|| Vec::new(),
            device_name: |major, minor| (major == 8).then(|| format!("sda{minor}")),
            node: &self.node,
            costs: &|| vec![Cost { program: "switch".into(), run_count: 3, run_time_ns: 450 }],
            losses: &|| vec![(Loss::ContainerUncounted, 1), (Loss::Event, 0)],
            quality: &quality,
            gauges: &|| self.gauges.clone(),
        })
    }

    /// What a request gets; files are looked at.
    pub(super) fn ask(&self, request: http::Request<Bytes>) -> Done {
        let (head, body) = request.into_parts();
        match self.with_facts(|facts| answer(&head, &body, facts)) {
            Answer::Reply(reply) => Done::Reply(reply),
            Answer::File(job) => job.run(),
            Answer::Scrape(scrape) => Done::Reply(scrape.write()),
            Answer::Order(order) => panic!("only the runtime carries out {order:?}"),
            // Of none there is nothing to delete.
            Answer::Prune(_) => Done::Reply(Reply::empty()),
        }
    }

    pub(super) fn get(&self, path: &str) -> Reply {
        let request = http::Request::get(path).body(Bytes::new()).expect("a request");
        match self.ask(request) {
            Done::Reply(reply) => reply,
            Done::Download(file) => panic!("{path}: {file:?}"),
        }
    }

    fn executors(&self) -> impl Iterator<Item = &Executor> {
        self.frameworks.iter().flat_map(|framework| &framework.executors)
    }

    fn used(&self) -> Resources {
        let mut used = Resources::default();
        self.executors().for_each(|executor| used.add(&executor.resources()));
        used
    }
}

fn views(frameworks: &[Framework]) -> Vec<FrameworkView<'_>> {
    frameworks.iter().map(Framework::view).collect()
}

impl Framework {
    fn view(&self) -> FrameworkView<'_> {
        FrameworkView {
            info: &self.info,
            executors: self.executors.iter().map(Executor::view).collect(),
            completed_executors: self.completed.iter().map(Executor::view).collect(),
        }
    }
}

impl Executor {
    fn resources(&self) -> Resources {
        let mut sum = self.info.resources.clone();
        self.tasks.iter().for_each(|task| sum.add(&task.info.resources));
        sum
    }

    fn view(&self) -> ExecutorView<'_> {
        fn views(tasks: &[Task]) -> Vec<TaskView<'_>> {
            tasks
                .iter()
                .map(|task| TaskView { info: &task.info, state: task.state, statuses: &task.statuses })
                .collect()
        }
        ExecutorView {
            info: &self.info,
            container_id: &self.container_id,
            is_command: self.is_command,
            pid: self.pid,
            is_registering: false,
            is_ending: false,
            is_ended: self.is_ended,
            resources: self.resources(),
            tasks: views(&self.tasks),
            queued_tasks: views(&self.queued),
            completed_tasks: views(&self.completed),
        }
    }
}

fn framework_of(info: &v1::FrameworkInfo, state: &GetState) -> Framework {
    let info = framework::from_v1(info).expect("a recorded framework");
    let id = info.framework_id.clone().expect("it has an id");
    let executors = state.get_executors.clone().expect("executors");
    let all = |executors: &[v1::agent::response::get_executors::Executor], is_ended| {
        let mine = executors
            .iter()
            .map(|of| &of.executor_info)
            .filter(|info| info.framework_id.as_ref().is_some_and(|of| of.value == id.as_str()));
        mine.map(|info| executor_of(info, is_ended, state)).collect()
    };
    Framework {
        executors: all(&executors.executors, false),
        completed: all(&executors.completed_executors, true),
        info,
    }
}

fn executor_of(info: &v1::ExecutorInfo, is_ended: bool, state: &GetState) -> Executor {
    let tasks = state.get_tasks.clone().expect("tasks");
    let mine = |tasks: &[v1::Task]| -> Vec<Task> {
        let mine = tasks.iter().filter(|task| {
            task.executor_id.as_ref() == Some(&info.executor_id)
                && Some(&task.framework_id) == info.framework_id.as_ref()
        });
        mine.map(task_of).collect()
    };
    let mut open = mine(&tasks.launched_tasks);
    open.extend(mine(&tasks.terminated_tasks));
    let completed = mine(&tasks.completed_tasks);
    let mut statuses = open.iter().chain(&completed).flat_map(|task| &task.statuses);
    let container = statuses.find_map(|status| status.container.clone()).expect("a task that ran");
    Executor {
        info: executor::from_v1(info).expect("a recorded executor"),
        container_id: container.container_id,
        pid: container.executor_pid,
        is_command: false,
        is_ended,
        tasks: open,
        queued: Vec::new(),
        completed,
    }
}

/// The task as it was asked for, as far as its record tells.
fn task_of(of: &v1::Task) -> Task {
    let executor = of.executor_id.as_ref().map(|id| v1::ExecutorInfo {
        executor_id: id.clone(),
        command: Some(v1::CommandInfo::default()),
        ..v1::ExecutorInfo::default()
    });
    let asked = v1::TaskInfo {
        name: of.name.clone(),
        task_id: of.task_id.clone(),
        agent_id: of.agent_id.clone(),
        resources: of.resources.clone(),
        executor,
        ..v1::TaskInfo::default()
    };
    let statuses = of.statuses.iter().map(|status| status::from_v1(status).expect("a recorded status"));
    Task {
        state: status::state_from_v1(of.state).expect("a state"),
        statuses: statuses.collect(),
        info: asked_for(&asked),
    }
}

/// As the agent has it from its master.
pub(super) fn asked_for(asked: &v1::TaskInfo) -> TaskInfo {
    let info = api::convert::task::from_v1(asked).expect("a task");
    let resources = resources::from_v1(&asked.resources).expect("resources");
    TaskInfo { resources, body: Body::new(protobuf::encode(asked)), ..info }
}
