//! The agent's first and last moments: everything is found, opened and put together; and let go of.

use crate::bpf::{Bpf, Figure, Reason, Support};
use crate::cgroup::hierarchy::TreeConfig;
use crate::checkpoint::layout::Meta;
use crate::checkpoint::load::{self, LoadError, Loaded};
use crate::checkpoint::store::Store;
use crate::config::isolation::PolicyError;
use crate::config::{Config, LOOPBACK, MESOS_VERSION, Switch};
use crate::containerizer::isolation::asked::Policy;
use crate::containerizer::plan::logger_directory;
use crate::containerizer::service::Containerizer;
use crate::estimator::core::Estimator;
use crate::executor_api;
use crate::images::Images;
use crate::link::Target;
use crate::logger;
use crate::node::Node;
use crate::node::compatibility::{self, Change};
use crate::node::effect::{Effect, Ending, Record};
use crate::node::input::Input;
use crate::runtime::clock::{Clock, wall};
use crate::runtime::collect::Collector;
use crate::runtime::machine::{self, MachineError};
use crate::runtime::qos::Qos;
use crate::runtime::{Agent, Cell, Counts, OnceCell, RefCell};
use crate::sampler::sources::{Counted, Sampler};
use crate::sys::memory;
use leader::detector;
use leader::url::Masters;
use model::agent_info::AgentInfo;
use model::id::{AgentId, MasterId};
use socket2::SockRef;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// Why the agent does not start, or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("make the work directory {} (--work-dir)", path.display())]
    WorkDir { path: PathBuf, source: io::Error },
    #[error("listen on {address} (--ip, --port)")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("look for the leading master (--master)")]
    Detector(#[source] detector::DetectError),
    #[error("find this program's own file")]
    Program(#[source] io::Error),
    #[error("find out about this machine")]
    Machine(#[from] MachineError),
    #[error("read the checkpoint")]
    Load(#[from] LoadError),
    #[error("{0}")]
    Fetcher(String),
    #[error(transparent)]
    Isolation(#[from] PolicyError),
    #[error("{0}")]
    Images(String),
    #[error("start the collector")]
    Collector(#[source] io::Error),
    #[error(
        "this is not the agent that it was: {}; permit more of everything by --reconfiguration-policy=additive, or remove {} \
         to start as a new agent, without the tasks of the old one",
        join(changes),
        latest.display()
    )]
    Changed { changes: Vec<Change>, latest: PathBuf },
    #[error("set up what starts containers")]
    Launcher(#[source] io::Error),
    #[error("set up io_uring, which the agent cannot do without (container runtimes may forbid it)")]
    Uring(#[source] io::Error),
    #[error("catch signals")]
    Signals(#[source] io::Error),
    #[error("{0}")]
    Ended(String),
}

/// Connections that may wait to be accepted, if the system allows as many (`net.core.somaxconn`): after a restart all executors
/// come at once, and one that finds no room tries again only a second later.
const WAITING_MAX: i32 = 1 << 16;

/// Runs the agent until it is told to end. Threads that fork or wait in the kernel are started here, before the runtime.
pub fn run(config: Config) -> Result<(), StartError> {
    memory::use_one_arena();
    let work_dir = config.work_dir.clone();
    let no_directory = |source| StartError::WorkDir { path: work_dir.clone(), source };
    std::fs::create_dir_all(&config.work_dir).map_err(no_directory)?;
    let config = Config { work_dir: config.work_dir.canonicalize().map_err(no_directory)?, ..config };
    let ip = config.ip.or_else(|| machine::address_towards(&config.towards())).unwrap_or(LOOPBACK);
    let address = SocketAddr::new(ip, config.port);
    let listen = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(listen)?;
    // It listens already, for 128.
    SockRef::from(&listener).listen(WAITING_MAX).map_err(listen)?;
    let mut address = listener.local_addr().map_err(listen)?;
    if address.ip().is_unspecified() {
        // Listening everywhere is fine; but executors and frameworks must be told one place.
        address.set_ip(machine::address_towards(&config.towards()).unwrap_or(LOOPBACK));
    }
    listener.set_nonblocking(true).map_err(listen)?;
    let tree = config.isolation.has_cgroups().then(|| TreeConfig {
        name: config.cgroups_root.clone().unwrap_or_else(|| format!("ingot-{}", address.port())),
        parent: None,
        extras: config.limits.extras(),
    });
    let isolation = config.isolation.policy(nix::unistd::geteuid().is_root(), &config.work_dir)?;
    let fetcher = config.fetcher.fetcher(&config.work_dir).map_err(StartError::Fetcher)?;
    let containerizer = Containerizer::new(&config.work_dir, tree.as_ref())
        .map_err(StartError::Launcher)?
        .with_fetcher(fetcher)
        .with_users(config.isolation.users())
        .with_devices(config.limits.devices());
    let images = config.images.images(&config.work_dir).map_err(StartError::Images)?;
    let program = std::env::current_exe().map_err(StartError::Program)?;
    let boot_id = machine::boot_id()?;
    let target = match &config.master {
        Masters::Zookeeper(url) => {
            Target::Watched(detector::watch(url.clone()).map_err(StartError::Detector)?)
        }
        Masters::Addresses(places) if places.len() == 1 => Target::Place(places[0].clone()),
        Masters::Addresses(places) => Target::AnyOf(places.clone()),
    };
    let parts =
        Parts { target, isolation, program, address, listener, containerizer, images, boot_id, config };
    let runtime = tokio_uring::Runtime::new(&tokio_uring::builder()).map_err(StartError::Uring)?;
    runtime.block_on(parts.live())
}

struct Parts {
    target: Target,
    isolation: Policy,
    config: Config,
    address: SocketAddr,
    listener: TcpListener,
    containerizer: Containerizer,
    images: Option<Images>,
    boot_id: Arc<str>,
    program: PathBuf,
}

impl Parts {
    async fn live(self) -> Result<(), StartError> {
        let mut signals = Signals::catch().map_err(StartError::Signals)?;
        let (loaded, info) = self.past()?;
        let (bpf, support) = self.open_bpf();
        let counted = counted(&support);
        if let Some(warning) = self.containerizer.enforcement().warning(&self.config.limits.extras().asked())
        {
            tracing::warn!("{warning}");
        }
        tracing::info!("{support}");
        let (clock, settings, seed) = (Clock::start(), self.config.settings(), random_seed());
        let own = loaded.as_ref().map(|loaded| {
            let known = &loaded.recovered;
            // Or the next restart would take this boot for yet another one, and its executors for gone.
            let is_news = known.rebooted || loaded.info != info;
            (is_news, known.agent_id.clone(), known.master_id.clone())
        });
        let collector = Collector::start(&self.config.work_dir, self.config.collector.settings())
            .map_err(StartError::Collector)?;
        let mut effects = Vec::new();
        let node = match loaded {
            Some(loaded) => {
                say_recovered(&loaded);
                Node::recover(settings, info.clone(), seed, loaded.recovered, clock.now(), &mut effects)
            }
            None => Node::new(settings, info.clone(), seed),
        };
        let Self { config, address, listener, containerizer, images, boot_id, program, isolation, target } =
            self;
        let agent = Rc::new(Agent {
            qos: Qos::new(config.qos.targets(), &containerizer),
            flags: config.shown(address, &info.hostname),
            started: wall(),
            containerizer,
            isolation: Arc::new(isolation),
            images,
            support,
            found: crate::doctor::look(),
            node: RefCell::new(node),
            clock,
            store: OnceCell::new(),
            link: RefCell::default(),
            target,
            streams: RefCell::default(),
            next_caller: Cell::new(0),
            has_holes: Cell::new(true),
            answer: Cell::new(None),
            containers: RefCell::default(),
            nested: RefCell::default(),
            program,
            collector,
            bpf: RefCell::new(bpf),
            sampler: tokio::sync::Mutex::new(Sampler::new(counted)),
            estimator: RefCell::new(Estimator::new(config.estimator.settings(config.usage_interval))),
            finals: RefCell::default(),
            counts: Counts::default(),
            machine: Cell::default(),
            reports: RefCell::default(),
            reported: Cell::default(),
            deadline_changed: Notify::new(),
            exit: RefCell::default(),
            exiting: Notify::new(),
            config,
        });
        agent.open_store(own, boot_id);
        agent.go(listener, effects).map_err(|source| StartError::Listen { address, source })?;
        tracing::info!(%address, work_dir = %agent.config.work_dir.display(), "agent listens");
        agent.clone().until_the_end(&mut signals).await
    }
}

/// What need not be read from files.
fn counted(support: &Support) -> Counted {
    let has = |figure| support.has(figure);
    Counted { cpu: has(Figure::Cpu), memory: has(Figure::Memory), io: has(Figure::Io) }
}

impl Parts {
    fn open_bpf(&self) -> (Bpf, Support) {
        match (self.config.bpf, self.containerizer.cgroup_root()) {
            (Switch::On, Some(root)) => {
                let memory_controller = self.containerizer.enforcement().memory.is_yes();
                Bpf::open_with(root, &self.config.bpf_options(memory_controller))
            }
            (Switch::On, None) => (Bpf::none(), Support::nothing(Reason::NoCgroups)),
            (Switch::Off, _) => (Bpf::none(), Support::nothing(Reason::SwitchedOff)),
        }
    }

    /// The agent's earlier life, if this one may go on with it, and what it says of itself now.
    fn past(&self) -> Result<(Option<Loaded>, AgentInfo), StartError> {
        let info = self.info();
        let Some(loaded) = load::load(&self.config.work_dir, &self.boot_id)? else { return Ok((None, info)) };
        let changes = compatibility::changes(self.config.reconfiguration(), &loaded.info, &info);
        if changes.is_empty() {
            let total = compatibility::total(&loaded.recovered.total, &info.total);
            return Ok((Some(loaded), AgentInfo { total, ..info }));
        }
        if !loaded.recovered.rebooted {
            return Err(StartError::Changed { changes, latest: Meta::of(&self.config.work_dir).latest() });
        }
        // As Mesos does: nothing runs here any more that would have to be kept.
        let agent_id = &loaded.recovered.agent_id;
        tracing::warn!(%agent_id, changes = join(&changes), "starting as a new agent: the machine was started anew");
        Ok((None, info))
    }

    fn info(&self) -> AgentInfo {
        let hostname = self.config.hostname.clone().unwrap_or_else(|| machine::hostname(self.address.ip()));
        AgentInfo {
            hostname: hostname.into(),
            address: self.address,
            total: self.config.total(&machine::resources(&self.config.work_dir)),
            boot_id: self.boot_id.clone(),
            version: MESOS_VERSION.into(),
            body: api::convert::agent::body_of(
                self.config.attributes.list.clone(),
                self.config.domain.clone(),
            ),
        }
    }
}

fn join(changes: &[Change]) -> String {
    changes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn say_recovered(loaded: &Loaded) {
    let executors = loaded.recovered.frameworks.iter().flat_map(|framework| &framework.executors);
    let alive = executors.filter(|executor| !executor.is_done).count();
    let (agent_id, rebooted) = (&loaded.recovered.agent_id, loaded.recovered.rebooted);
    tracing::info!(%agent_id, rebooted, executors = alive, "found the checkpoint of an earlier life");
}

fn random_seed() -> u64 {
    u64::from_le_bytes(*uuid::Uuid::new_v4().as_bytes().first_chunk().expect("16 bytes are at least 8"))
}

/// Who the agent was, and whether it describes itself otherwise now.
type Own = (bool, AgentId, MasterId);

impl Agent {
    fn open_store(self: &Rc<Self>, own: Option<Own>, boot_id: Arc<str>) {
        let agent = Rc::downgrade(self);
        let durable = move |ticket| {
            if let Some(agent) = agent.upgrade() {
                agent.input(Input::Durable { ticket });
            }
        };
        let agent_id = own.as_ref().map(|(_, agent_id, _)| agent_id.clone());
        let store = Store::start(&self.config.work_dir, agent_id, boot_id, durable);
        if let Some((true, agent_id, master_id)) = own {
            let info = self.look(|node| node.info().clone());
            store.persist(None, Record::Agent { agent_id, master_id, info });
        }
        self.store.set(store).expect("opened once");
    }

    /// Sets everything going. `effects`: what the node wants from its recovery.
    fn go(self: &Rc<Self>, listener: TcpListener, effects: Vec<Effect>) -> io::Result<()> {
        self.watch_leader();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        self.carry_out_all(effects);
        let agent = self.clone();
        let taken_over = self.bpf.borrow().taken_over();
        tokio::task::spawn_local(async move {
            let ended = agent.remove_leftovers().await;
            agent.forget_gone(taken_over);
            agent.keep_collecting(ended).await;
        });
        tokio::task::spawn_local(self.clone().keep_watching_disk());
        if self.needs_logger() {
            let agent = self.clone();
            tokio::task::spawn_local(async move {
                logger::supervisor::keep(&agent.program, &agent.config.work_dir).await;
            });
        }
        tokio::task::spawn_local(self.clone().keep_watching_images());
        tokio::task::spawn_local(self.clone().keep_time());
        tokio::task::spawn_local(self.clone().measure());
        tokio::task::spawn_local(self.clone().keep_estimate_fresh());
        tokio::task::spawn_local(self.clone().keep_quality());
        self.watch_ends();
        tokio::task::spawn_local(executor_api::server::serve(self.clone(), listener));
        self.counts.recovery_secs.set(self.now().time.0 as f64 / 1e9);
        self.input(Input::Start);
        Ok(())
    }

    /// It rotates, or did in an earlier life, and containers of that are left.
    fn needs_logger(&self) -> bool {
        let has_tickets =
            |mut entries: std::fs::ReadDir| entries.any(|entry| entry.is_ok_and(|it| it.path().is_dir()));
        let folder = logger_directory(&self.config.work_dir);
        self.config.logger.settings().is_some() || std::fs::read_dir(folder).is_ok_and(has_tickets)
    }

    async fn until_the_end(self: Rc<Self>, signals: &mut Signals) -> Result<(), StartError> {
        loop {
            tokio::select! {
                () = self.exiting.notified() => break,
                signal = signals.next() => match signal {
                    Caught::Stop(name) => {
                        tracing::info!(signal = name, "the agent ends; tasks of frameworks that checkpoint go on");
                        self.containerizer.close();
                        self.leave();
                        return Ok(());
                    }
                    Caught::Unregister => {
                        tracing::info!("asked to unregister: ending everything that runs here");
                        self.input(Input::End(Ending::Unregister));
                    }
                },
            }
        }
        self.flush_link().await;
        self.containerizer.close();
        self.leave();
        let ending = self.exit.borrow().clone().expect("set before it was notified");
        Self::complaint(&ending).map_or(Ok(()), |complaint| Err(StartError::Ended(complaint)))
    }

    /// What is counted goes on for containers that do; for none, nothing has to.
    fn leave(&self) {
        self.let_all_go();
        if self.containers.borrow().is_empty() {
            self.bpf.borrow_mut().unpin();
        }
    }

    /// Lets the last words out, if the master takes them.
    async fn flush_link(&self) {
        let flushed = async {
            while self.link.borrow().as_ref().is_some_and(|(_, link)| link.has_waiting()) {
                tokio::task::yield_now().await;
            }
        };
        _ = tokio::time::timeout(LAST_WORDS, flushed).await;
    }
}

/// How long an ending agent waits for its last words to leave.
const LAST_WORDS: Duration = Duration::from_secs(1);

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    unregister: Signal,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            unregister: signal(SignalKind::user_defined1())?,
        })
    }

    async fn next(&mut self) -> Caught {
        tokio::select! {
            _ = self.terminate.recv() => Caught::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Caught::Stop("SIGINT"),
            _ = self.unregister.recv() => Caught::Unregister,
        }
    }
}

enum Caught {
    /// The agent goes, its tasks stay.
    Stop(&'static str),
    /// Everything goes.
    Unregister,
}
