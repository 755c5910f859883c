//! From the embedded object to programs that run: finds the fields, makes the maps, loads and attaches each program, and
//! says which figures that gives. A program that the kernel refuses costs the figures that need it and nothing else.
//!
//! Everything lives as long as the [`Loaded`] value: when it is dropped the kernel detaches the programs and frees the
//! maps. Unless they are pinned (pins.rs): then they go on, and the next agent with the same object takes them over.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use agent_ebpf::{CPUS_MAX, field, global, map};
use aya::maps::{Map, MapData};
use aya::programs::links::FdLink;
use aya::programs::raw_trace_point::RawTracePoint;
use aya::programs::{
    BtfTracePoint, CgroupSkb, Iter, Program, ProgramError, RawTracePointRunOptions, SockOps, TestRun,
};
use aya::util::{nr_cpus, online_cpus};
use aya::{Btf, Ebpf, EbpfLoader};

use super::btf::{BtfError, KERNEL_BTF, KernelBtf};
use super::pins::{PinsError, Place, Set};
use super::programs::{EXIT_CALL, Hook, LEVEL, OPTIONAL, PROGRAMS, RESIDENT_PAGES, SWEEP, Spec};
use super::support::{Figure, Reason, Support};
use super::{Options, capabilities, hierarchy, offsets};

static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../agent-ebpf/object/ingot.bpf.o");

/// What the object is completed with. Owned here because aya borrows each global until the object is loaded.
struct Globals {
    /// The fields' offsets, in the order of [`field::FIELDS`].
    offsets: Vec<u32>,
    level: u32,
    root: u64,
    cpus: u32,
    stride: u32,
    /// Fields that this kernel does not have.
    absent: Vec<field::Field>,
    /// A process that exits still has its memory when the hook is called.
    exits_with_memory: bool,
}

/// The object in the kernel, loaded by this agent or by an earlier one.
pub(super) struct Loaded {
    programs: Programs,
    maps: BTreeMap<String, Map>,
    /// What attaches the programs, by a name of one's own choice. Those of an earlier agent are pins only.
    links: BTreeMap<String, FdLink>,
    pins: Option<(Place, Set)>,
    /// Under which it will be known to the next agent.
    identity: u64,
    /// Whether an earlier agent had loaded it.
    pub(super) taken_over: bool,
}

enum Programs {
    Own(Ebpf),
    Earlier(BTreeMap<&'static str, Program>),
}

impl Loaded {
    /// Hands over a map, once.
    pub(super) fn take_map(&mut self, name: &str) -> Option<Map> {
        self.maps.remove(name)
    }

    /// The program of that name, which the [`Support`] says is there.
    pub(super) fn program(&mut self, name: &str) -> &mut Program {
        let found = match &mut self.programs {
            Programs::Own(ebpf) => ebpf.program_mut(name),
            Programs::Earlier(programs) => programs.get_mut(name),
        };
        found.expect("the object is built with every program that is named here")
    }

    /// Every program by its name.
    pub(super) fn programs(&self) -> Vec<(&str, &Program)> {
        match &self.programs {
            Programs::Own(ebpf) => ebpf.programs().collect(),
            Programs::Earlier(programs) => programs.iter().map(|(name, it)| (*name, it)).collect(),
        }
    }

    /// Whether a link of that name is kept, by this agent or since an earlier one.
    pub(super) fn has_link(&self, name: &str) -> bool {
        self.links.contains_key(name) || self.pins.as_ref().is_some_and(|(_, set)| set.link(name).exists())
    }

    /// Keeps a program attached; beyond this agent's life where there are pins. The name has no dot and no slash.
    pub(super) fn keep_link(&mut self, name: &str, link: FdLink) -> Result<(), PinsError> {
        let link = match &self.pins {
            Some((_, set)) => pin_link(set, name, link)?,
            None => link,
        };
        self.links.insert(name.to_owned(), link);
        Ok(())
    }

    /// Detaches what was kept under that name.
    pub(super) fn drop_link(&mut self, name: &str) {
        self.links.remove(name);
        if let Some((_, set)) = &self.pins {
            // None there: nothing was pinned under it.
            let _ = std::fs::remove_file(set.link(name));
        }
    }

    /// Sets of earlier agents that are not taken over, and that count as long as [`Loaded::finish`] was not called.
    pub(super) fn earlier(&self) -> Vec<Set> {
        let pins = self.pins.as_ref().filter(|_| !self.taken_over);
        pins.map(|(place, _)| place.finished()).unwrap_or_default()
    }

    /// From here on this is what the next agent takes over, and everything older goes.
    pub(super) fn finish(&mut self) -> Result<(), PinsError> {
        let Some((place, set)) = self.pins.as_mut().filter(|_| !self.taken_over) else { return Ok(()) };
        place.finish(set, self.identity)
    }

    /// From here on everything ends with this agent.
    pub(super) fn unpin(&mut self) {
        if let Some((place, _)) = self.pins.take() {
            place.remove();
        }
    }
}

fn pin_link(set: &Set, name: &str, link: FdLink) -> Result<FdLink, PinsError> {
    let path = set.link(name);
    let done = link.pin(&path);
    done.map(FdLink::from).map_err(|source| PinsError::Pin { path, source })
}

/// What the pins say of a program that is not among them because the others suffice.
const NEEDLESS: &str = "needless";

/// Takes over what an earlier agent has pinned, or loads and attaches everything that this machine allows, for containers
/// directly below `root`.
pub(super) fn load(root: &Path, options: &Options<'_>) -> Result<(Loaded, Support), Reason> {
    capabilities::check()?;
    let place = hierarchy::locate(root)?;
    let no_directory = |_| Reason::NotCgroup2 { path: root.display().to_string() };
    let id = root.metadata().map_err(no_directory)?.ino();
    let identity = identity(options);
    let pins = match options.pins.directory() {
        None => Err(Reason::NotPinned),
        Some(base) => base.and_then(|base| Place::open(&base, root, id)).map_err(no_pins),
    };
    if let Some(taken) = pins.as_ref().ok().and_then(|pins| take_over(pins, identity)) {
        return Ok(taken);
    }

    let types = KernelBtf::of_running_kernel().map_err(Reason::NoBtf)?;
    let mut globals = Globals::find(&types);
    drop(types);
    for (name, wrong) in options.wrong_fields {
        globals.offsets[field::place(name)] = *wrong;
    }
    let btf = Btf::from_sys_fs().map_err(|_| {
        Reason::NoBtf(BtfError::Format { path: KERNEL_BTF, what: "the loader cannot read it" })
    })?;
    globals.level = match place.level() {
        Some(level) => level,
        None => place.level_within(own_level(&globals, &btf)?),
    };
    globals.root = id;
    let ebpf = make_maps(&globals, &btf, options)?;
    let mut loading = Loading {
        ebpf,
        links: BTreeMap::new(),
        missing: Vec::new(),
        needless: (globals.exits_with_memory || options.memory_controller).then_some(RESIDENT_PAGES),
        left_out: globals.leave_out(),
    };
    loading.start_all(&globals, &btf);
    Ok(loading.finish(pins, identity))
}

/// What the pins of an earlier agent must share with this one to be taken over: the object, and what it was loaded with.
/// The kernel is the same, for a bpffs does not outlive it; and a cgroup does not move.
fn identity(options: &Options<'_>) -> u64 {
    let options =
        format!("{:?} {} {:?}", options.containers_max, options.memory_controller, options.wrong_fields);
    // FNV-1a, 64 bits.
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    OBJECT.iter().chain(options.as_bytes()).fold(0xcbf2_9ce4_8422_2325, step)
}

/// `None` if there is nothing to be taken over, or it is not whole.
fn take_over(place: &Place, identity: u64) -> Option<(Loaded, Support)> {
    let set = place.set(identity)?;
    let (mut programs, mut missing) = (BTreeMap::new(), Vec::new());
    for spec in PROGRAMS {
        match set.why_missing(spec.name) {
            Some(message) if message == NEEDLESS => {}
            Some(message) => {
                lose(&mut missing, spec.figures, Reason::Refused { program: spec.name, message });
            }
            None => {
                programs.insert(spec.name, spec.hook.pinned(&set.program(spec.name)).ok()?);
                if spec.hook.is_attached() && !set.link(spec.name).exists() {
                    return None;
                }
            }
        }
    }
    for (figure, needed) in OPTIONAL {
        let absent = set.why_missing(&figure_note(*figure));
        let known = |it: &&field::Field| {
            needed.contains(&it.name) && absent.as_ref() == Some(&format!("{}.{}", it.of, it.path))
        };
        if let Some(field) = field::FIELDS.iter().find(known) {
            lose(&mut missing, &[*figure], Reason::NoField { of: field.of, path: field.path });
        }
    }
    let open = |name: String| {
        let map = MapData::from_pin(set.map(&name)).and_then(Map::from_map_data).ok()?;
        Some((name, map))
    };
    let maps = set.maps().into_iter().map(open).collect::<Option<_>>()?;
    let pins = Some((Place::clone(place), set));
    let programs = Programs::Earlier(programs);
    let loaded = Loaded { programs, maps, links: BTreeMap::new(), pins, identity, taken_over: true };
    Some((loaded, Support::without(missing)))
}

/// The name of a note about a figure; those about programs have the programs' names.
fn figure_note(figure: Figure) -> String {
    format!("figure-{}", figure.as_str())
}

pub(super) fn no_pins(error: PinsError) -> Reason {
    Reason::NoPins { message: causes(&error), remedy: error.remedy() }
}

/// Figures are missing, each for the first reason that there was.
fn lose(missing: &mut Vec<(Figure, Arc<Reason>)>, figures: &[Figure], reason: Reason) {
    let reason = Arc::new(reason);
    for figure in figures {
        if missing.iter().all(|(it, _)| it != figure) {
            missing.push((*figure, reason.clone()));
        }
    }
}

/// An object on its way into the kernel.
struct Loading {
    ebpf: Ebpf,
    links: BTreeMap<String, FdLink>,
    missing: Vec<(&'static Spec, Reason)>,
    /// A program that is not loaded because the others suffice.
    needless: Option<&'static str>,
    /// Figures that the programs run without, for want of a field.
    left_out: Vec<(Figure, field::Field)>,
}

impl Loading {
    fn start_all(&mut self, globals: &Globals, btf: &Btf) {
        for spec in PROGRAMS {
            let has_failed = |name| self.missing.iter().any(|(it, _): &(&Spec, _)| it.name == name);
            if self.needless == Some(spec.name) {
                if !has_failed(SWEEP) {
                    continue;
                }
                self.needless = None;
            }
            let done = match globals.lacks(spec) {
                Some(of) => Err(Reason::NoField { of: of.of, path: of.path }),
                None => start(&mut self.ebpf, spec, btf),
            };
            match done {
                Ok(Some(link)) => _ = self.links.insert(spec.name.to_owned(), link),
                Ok(None) => {}
                Err(reason) => self.missing.push((spec, reason)),
            }
        }
    }

    fn finish(mut self, pins: Result<Place, Reason>, identity: u64) -> (Loaded, Support) {
        let pinned = pins.and_then(|place| {
            let set = self.pin(&place, identity).map_err(no_pins);
            if set.is_err() {
                place.remove();
            }
            Ok((place, set?))
        });
        let mut lost = Vec::new();
        for (spec, reason) in self.missing {
            lose(&mut lost, spec.figures, reason);
        }
        for (figure, field) in self.left_out {
            lose(&mut lost, &[figure], Reason::NoField { of: field.of, path: field.path });
        }
        let pins = match pinned {
            Ok(pins) => Some(pins),
            Err(reason) => {
                lost.push((Figure::Pins, Arc::new(reason)));
                None
            }
        };
        let names: Vec<String> = self.ebpf.maps().map(|(name, _)| name.to_owned()).collect();
        let maps = names.into_iter().filter_map(|name| {
            let map = self.ebpf.take_map(&name)?;
            Some((name, map))
        });
        let maps = maps.collect();
        let programs = Programs::Own(self.ebpf);
        (
            Loaded { programs, maps, links: self.links, pins, identity, taken_over: false },
            Support::without(lost),
        )
    }

    /// Gives everything a name in the bpffs, in a set that is not finished yet.
    fn pin(&mut self, place: &Place, identity: u64) -> Result<Set, PinsError> {
        let set = place.begin(identity)?;
        for (name, map) in self.ebpf.maps() {
            // Read-only data goes with its programs; a pin may have no dot in its name.
            if !name.contains('.') {
                let path = set.map(name);
                map.pin(&path).map_err(|source| PinsError::Pin { path, source })?;
            }
        }
        for (spec, reason) in &self.missing {
            set.miss(spec.name, &reason.to_string());
        }
        if let Some(name) = self.needless {
            set.miss(name, NEEDLESS);
        }
        for (figure, field) in &self.left_out {
            set.miss(&figure_note(*figure), &format!("{}.{}", field.of, field.path));
        }
        let here = |spec: &&Spec| {
            self.needless != Some(spec.name) && self.missing.iter().all(|(it, _)| it.name != spec.name)
        };
        for spec in PROGRAMS.iter().filter(here) {
            let path = set.program(spec.name);
            let program = program(&mut self.ebpf, spec.name);
            program.pin(&path).map_err(|source| PinsError::Pin { path, source })?;
        }
        for (name, link) in std::mem::take(&mut self.links) {
            let link = pin_link(&set, &name, link)?;
            self.links.insert(name, link);
        }
        for (map, number) in agent_ebpf::layout::LAYOUTS {
            set.note_layout(map, number);
        }
        Ok(set)
    }
}

impl Globals {
    fn find(types: &KernelBtf) -> Self {
        let (mut offsets, mut absent) = (Vec::new(), Vec::new());
        for field in field::FIELDS {
            let found = types.member(field.of, field.path);
            offsets.push(found.map_or(0, |it| it.offset));
            if found.is_none() {
                absent.push(*field);
            }
        }
        // Since 6.2 the memory counters are per-CPU counters; before, plain words without remainders.
        let counters = types.member("mm_struct", "rss_stat").and_then(|it| types.struct_of(it));
        let (stride, per_cpu) = match counters {
            Some((b"percpu_counter", size)) => (size, true),
            _ => (8, false),
        };
        if !per_cpu {
            let plain = types.member("mm_rss_stat", "count").map_or(0, |it| it.offset);
            offsets[field::place(field::COUNTER_COUNT)] = plain;
        }
        let cpus = match nr_cpus() {
            Ok(cpus) if per_cpu && cpus <= CPUS_MAX => u32::try_from(cpus).expect("at most CPUS_MAX"),
            _ => 0,
        };
        let exits_with_memory = types.arguments(EXIT_CALL.0).is_some_and(|count| count >= EXIT_CALL.1);
        Self { offsets, level: 1, root: 0, cpus, stride, absent, exits_with_memory }
    }

    fn leave_out(&self) -> Vec<(Figure, field::Field)> {
        let absent = |needed: &[&str]| self.absent.iter().find(|it| needed.contains(&it.name)).copied();
        OPTIONAL.iter().filter_map(|(figure, needed)| Some((*figure, absent(needed)?))).collect()
    }

    fn lacks(&self, spec: &Spec) -> Option<&field::Field> {
        let needed = |it: &&field::Field| spec.fields.iter().any(|group| group.contains(&it.name));
        self.absent.iter().find(needed)
    }
}

fn make_maps(globals: &Globals, btf: &Btf, options: &Options<'_>) -> Result<Ebpf, Reason> {
    let mut loader = EbpfLoader::new();
    loader.btf(Some(btf)).allow_unsupported_maps();
    if let Some(most) = options.containers_max {
        loader.map_max_entries(map::CONTAINERS, most).map_max_entries(map::MEMORY, most);
    }
    loader
        .override_global(global::CONTAINER_LEVEL, &globals.level, true)
        .override_global(global::ROOT_CGROUP, &globals.root, true)
        .override_global(global::CPUS, &globals.cpus, true)
        .override_global(global::RSS_STRIDE, &globals.stride, true);
    let object = offsets::write(OBJECT, &globals.offsets);
    loader.load(&object).map_err(|error| Reason::Maps { message: causes(&error) })
}

/// Loads a program and attaches it if it is one that is attached.
fn start(ebpf: &mut Ebpf, spec: &Spec, btf: &Btf) -> Result<Option<FdLink>, Reason> {
    let refused = |error: ProgramError| Reason::Refused { program: spec.name, message: shortly(&error) };
    let program = program(ebpf, spec.name);
    match spec.hook {
        Hook::Tracepoint(name) => {
            let program: &mut BtfTracePoint = program.try_into().map_err(refused)?;
            program.load(name, btf).map_err(refused)?;
            let link = program.attach().map_err(refused)?;
            Ok(Some(program.take_link(link).map_err(refused)?.into()))
        }
        Hook::OnDemand => {
            let program: &mut RawTracePoint = program.try_into().map_err(refused)?;
            program.load().map_err(refused)?;
            // Run on every CPU once: `anchor` needs it, for `flush` it shows that it can be done at all.
            run_everywhere(program).map_err(refused)?;
            Ok(None)
        }
        Hook::Once => {
            let program: &mut RawTracePoint = program.try_into().map_err(refused)?;
            program.load().map_err(refused)?;
            program.test_run(RawTracePointRunOptions::new()).map_err(refused)?;
            Ok(None)
        }
        Hook::TaskIterator => {
            let program: &mut Iter = program.try_into().map_err(refused)?;
            program.load("task", btf).map_err(refused)?;
            Ok(None)
        }
        Hook::Packets(_) => {
            let program: &mut CgroupSkb = program.try_into().map_err(refused)?;
            program.load().map_err(refused)?;
            Ok(None)
        }
        Hook::Connections => {
            let program: &mut SockOps = program.try_into().map_err(refused)?;
            program.load().map_err(refused)?;
            Ok(None)
        }
    }
}

/// Runs an unattached program once on each CPU that is up, one after the other.
pub(super) fn run_everywhere(program: &RawTracePoint) -> Result<(), ProgramError> {
    let cpus = online_cpus().map_err(|(path, error)| ProgramError::IOError(with_path(path, &error)))?;
    for cpu in cpus {
        match program.test_run(RawTracePointRunOptions { cpu: Some(cpu), ..Default::default() }) {
            // A CPU that has gone down since: nothing runs there.
            Err(ProgramError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENXIO) => {}
            done => _ = done?,
        }
    }
    Ok(())
}

fn with_path(path: &str, error: &std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("{path}: {error}"))
}

/// The program of that name.
fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> &'a mut Program {
    ebpf.program_mut(name).expect("the object is built with every program that is named here")
}

/// Depth of the agent's own cgroup below the true root.
fn own_level(globals: &Globals, btf: &Btf) -> Result<u32, Reason> {
    let refused = |error: ProgramError| Reason::Refused { program: LEVEL, message: shortly(&error) };
    let mut ebpf = make_maps(globals, btf, &Options::default())?;
    let program: &mut RawTracePoint = program(&mut ebpf, LEVEL).try_into().map_err(refused)?;
    program.load().map_err(refused)?;
    Ok(program.test_run(RawTracePointRunOptions::new()).map_err(refused)?.return_value)
}

/// An error and what caused it, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !line.contains(&cause_text) {
            line = format!("{line}: {cause_text}");
        }
        next = cause.source();
    }
    line
}

/// The verifier's log can be a megabyte; its verdict is the line before its statistics.
fn shortly(error: &ProgramError) -> String {
    let ProgramError::LoadError { io_error, verifier_log } = error else { return causes(error) };
    let log = verifier_log.to_string();
    let verdict = log.lines().rev().map(str::trim).find(|line| {
        !line.is_empty()
            && !["processed ", "verification time", "stack depth"].iter().any(|it| line.starts_with(it))
    });
    match verdict {
        Some(verdict) => format!("{io_error}: {verdict}"),
        None => io_error.to_string(),
    }
}
