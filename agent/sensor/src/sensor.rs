//! The loaded sensor.

use crate::calls::{self, Calls};
use crate::config::{Config, RingBytes};
use crate::counters::{Counters, KindCounters};
use crate::error::{ApplyError, LoadError, SeedError, chain, object_refusal};
use crate::ladder::{ProbeState, ProbeStatus};
use crate::layout::Layout;
use crate::load::{self, SyscallProbe, SyscallRungs};
use crate::net::Hook;
use crate::plan::{self, Kills, Opens};
use crate::preflight::Privileges;
use crate::reader::RingReader;
use crate::ring::Ring;
use crate::rings::Rings;
use crate::{memory, objects, seeds};
use aya::maps::{Map, MapData, MapError};
use aya::programs::Program;
use aya::{Btf, Ebpf};
use hostward_event::fact::SeedProcess;
use hostward_event::plan::KernelPlan;
use hostward_event::raw::Rung;
use hostward_event::{EventKind, KindSet, Text, call};
use std::os::fd::AsFd;

const BASE_KINDS: &[EventKind] = &[EventKind::Exec, EventKind::Fork, EventKind::Exit, EventKind::Cgroup];
/// Program, what it hooks, and what it reports.
const BASE_PROBES: [(&str, &str, EventKind); 5] = [
    ("exec", "sched_process_exec", EventKind::Exec),
    ("fork", "sched_process_fork", EventKind::Fork),
    ("exit", "sched_process_exit", EventKind::Exit),
    ("cgroup_mkdir", "cgroup_mkdir", EventKind::Cgroup),
    ("cgroup_rmdir", "cgroup_rmdir", EventKind::Cgroup),
];

/// Kinds of object `sys`, by their ring.
fn sys_kinds(urgent: bool) -> Vec<EventKind> {
    let calls = call::TABLE.iter().filter(|spec| spec.group.is_bulk() != urgent).map(|spec| spec.kind);
    let own = if urgent { &[][..] } else { &[EventKind::Open, EventKind::Connect] };
    own.iter().copied().chain(calls).collect()
}

/// An object with its ring, while it is loaded.
struct Loaded {
    object: Ebpf,
    counters: Counters,
    /// The most urgent first.
    readers: Vec<RingReader>,
}

/// Hostward's programs in the kernel. Dropping it detaches and unloads everything.
pub struct Sensor {
    layout: Layout,
    base: Option<Loaded>,
    sys: Option<Loaded>,
    net: Option<Loaded>,
    base_probes: Vec<ProbeState>,
    sys_probes: Vec<SyscallProbe>,
    net_hooks: Vec<Hook>,
    rungs: SyscallRungs,
    opens: Opens,
    calls: Calls,
    kills: Kills,
    notes: Vec<String>,
}

impl Sensor {
    /// Loads the programs, puts `plan` in force and attaches. Each object degrades alone: what did
    /// not work is in [`Self::ladder`] and was logged once.
    ///
    /// # Errors
    /// [`LoadError`] when nothing at all is observed.
    pub fn load(config: &Config, plan: &KernelPlan) -> Result<Self, LoadError> {
        if let Some(problem) = config.problems().into_iter().next() {
            return Err(LoadError::Config(problem));
        }
        let privileges = Privileges::of_this_process();
        if let Some(missing) = privileges.missing() {
            return Err(LoadError::Privilege { missing });
        }
        let layout = Layout::running()?;
        let btf = Btf::from_sys_fs().map_err(LoadError::Btf)?;
        let mut notes: Vec<String> =
            layout.missing.iter().map(|why| format!("left out on this kernel: {why}")).collect();
        let own_pid = seeds::own_pid(&layout, &btf).unwrap_or_else(|why| {
            notes.push(format!("{why}; the agent's own process id is taken from its own pid namespace"));
            std::process::id()
        });
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let rings = config.ring_bytes(cpus as u64, memory_bytes());
        let rungs = SyscallRungs::new(layout.has_sockets, config.trampolines);
        let mut sensor = Self {
            layout,
            base: None,
            sys: None,
            net: None,
            base_probes: BASE_PROBES
                .into_iter()
                .map(|(program, hook, kind)| ProbeState::new(kind, program, hook, Rung::BtfTracepoint))
                .collect(),
            sys_probes: SyscallProbe::all(),
            net_hooks: Hook::all(),
            rungs,
            opens: Opens::default(),
            calls: Calls::default(),
            kills: Kills::default(),
            notes,
        };
        sensor.load_base(rings.process, own_pid)?;
        sensor.load_sys(rings, own_pid)?;
        sensor.load_net(rings.network, own_pid, &btf)?;
        sensor.swap(plan).map_err(|why| LoadError::Map { map: why.map, cause: why.cause })?;
        sensor.attach_base(&btf);
        sensor.attach_sys(plan.kinds, Some(&btf));
        sensor.attach_net(plan.kinds);
        drop(btf);
        memory::give_back();
        sensor.report()?;
        Ok(sensor)
    }

    fn load_base(&mut self, ring_bytes: u32, own_pid: u32) -> Result<(), LoadError> {
        match load::object(objects::BASE, &self.layout, own_pid, &[("PROCESS", ring_bytes)]) {
            Ok(object) => {
                let ring = ("PROCESS", "process", ring_bytes, BASE_KINDS.to_vec());
                self.base = Some(Loaded::new(object, vec![ring], Rung::BtfTracepoint)?);
            }
            Err(why) => {
                let why = object_refusal(&why);
                self.base_probes.iter_mut().for_each(|probe| probe.set(ProbeStatus::Refused, &why));
            }
        }
        Ok(())
    }

    fn load_sys(&mut self, rings: RingBytes, own_pid: u32) -> Result<(), LoadError> {
        let sizes = [("URGENT", rings.urgent), ("BULK", rings.bulk)];
        let object = match load::object(objects::SYS, &self.layout, own_pid, &sizes) {
            Ok(object) => object,
            Err(why) => {
                let why = object_refusal(&why);
                self.sys_probes.iter_mut().for_each(|probe| probe.state.set(ProbeStatus::Refused, &why));
                return Ok(());
            }
        };
        let rings = vec![
            ("URGENT", "urgent", rings.urgent, sys_kinds(true)),
            ("BULK", "bulk", rings.bulk, sys_kinds(false)),
        ];
        self.sys = Some(Loaded::new(object, rings, Rung::SyscallTracepoint)?);
        Ok(())
    }

    fn load_net(&mut self, ring_bytes: u32, own_pid: u32, btf: &Btf) -> Result<(), LoadError> {
        if !self.layout.has_sockets {
            let why = "this kernel does not tell where a socket's addresses are";
            self.net_hooks.iter_mut().for_each(|hook| hook.state.set(ProbeStatus::Refused, why));
            return Ok(());
        }
        match load::object(objects::NET, &self.layout, own_pid, &[("NETWORK", ring_bytes)]) {
            Ok(mut object) => {
                self.net_hooks.iter_mut().for_each(|hook| hook.load(&mut object, btf));
                let kinds = self.net_hooks.iter().map(|hook| hook.state.kind).collect();
                let ring = ("NETWORK", "network", ring_bytes, kinds);
                self.net = Some(Loaded::new(object, vec![ring], Rung::BtfTracepoint)?);
            }
            Err(why) => {
                let why = object_refusal(&why);
                self.net_hooks.iter_mut().for_each(|hook| hook.state.set(ProbeStatus::Refused, &why));
            }
        }
        Ok(())
    }

    fn attach_net(&mut self, kinds: KindSet) {
        if let Some(net) = &mut self.net {
            for hook in &mut self.net_hooks {
                hook.want(&mut net.object, kinds.contains(hook.state.kind));
            }
        }
    }

    fn attach_base(&mut self, btf: &Btf) {
        let Some(base) = &mut self.base else {
            return;
        };
        for ((program, _, _), probe) in BASE_PROBES.into_iter().zip(&mut self.base_probes) {
            load::attach_scheduler(&mut base.object, btf, program, probe);
        }
    }

    fn attach_sys(&mut self, kinds: KindSet, btf: Option<&Btf>) {
        let Some(sys) = &mut self.sys else {
            return;
        };
        for probe in &mut self.sys_probes {
            if probe.lacks(kinds) {
                probe.attach(&mut sys.object, &mut self.rungs, btf);
            } else if !kinds.contains(probe.state.kind) {
                probe.close();
            }
        }
    }

    /// Logs what did not work; fails when nothing did.
    fn report(&self) -> Result<(), LoadError> {
        for note in &self.notes {
            tracing::info!(note, "sensor");
        }
        let ladder = self.ladder();
        ladder.iter().for_each(log_failure);
        if ladder.iter().any(ProbeState::attached) {
            return Ok(());
        }
        let failed = ladder.iter().filter(|probe| !probe.why.is_empty());
        let reasons: Vec<String> = failed.map(|probe| format!("{}: {}", probe.hook, probe.why)).collect();
        Err(LoadError::Nothing { reasons: reasons.join("; ") })
    }

    /// Puts another plan in force without detaching: filter and kill lists are swapped, probes of
    /// kinds that became wanted are attached and of those that are no more wanted detached. Gives
    /// the kill entries that the kernel cannot decide (too long, or no plain path); user space must.
    ///
    /// # Errors
    /// [`ApplyError`]; the old plan, or more, is then in force.
    pub fn apply(&mut self, plan: &KernelPlan) -> Result<Vec<Text>, ApplyError> {
        self.swap(plan)?;
        let before = self.ladder();
        // The type information is long, so it is only there while probes are attached.
        let more = self.sys_probes.iter().any(|probe| probe.lacks(plan.kinds));
        let btf = if more && self.rungs.trampolines.may_work() { Btf::from_sys_fs().ok() } else { None };
        self.attach_sys(plan.kinds, btf.as_ref());
        if btf.is_some() {
            drop(btf);
            memory::give_back();
        }
        self.attach_net(plan.kinds);
        let changed = self.ladder().into_iter().filter(|probe| !before.contains(probe));
        changed.for_each(|probe| log_failure(&probe));
        Ok(self.kills.left_out.clone())
    }

    fn swap(&mut self, plan: &KernelPlan) -> Result<(), ApplyError> {
        let (opens, calls, kills) = (Opens::new(plan), Calls::new(plan), Kills::new(plan));
        if let Some(sys) = &mut self.sys {
            plan::swap_opens(&mut sys.object, &self.opens, &opens)?;
            calls::swap(&mut sys.object, &self.calls, &calls)?;
        }
        (self.opens, self.calls) = (opens, calls);
        if let Some(base) = &mut self.base {
            plan::swap_kills(&mut base.object, &self.kills, &kills)?;
            plan::set_environment(&mut base.object, !plan.environment.is_empty())?;
        }
        self.kills = kills;
        Ok(())
    }

    /// Kill entries of the plan in force that the kernel cannot decide.
    pub fn kills_left_out(&self) -> &[Text] {
        &self.kills.left_out
    }

    /// The rings, for one thread. Only the first call's are not empty.
    pub fn ordered_rings(&mut self) -> Rings {
        let [mut process, mut others, network] =
            [&mut self.base, &mut self.sys, &mut self.net].map(|loaded| {
                loaded.as_mut().map(|loaded| std::mem::take(&mut loaded.readers)).unwrap_or_default()
            });
        others.extend(network);
        Rings::new(process.pop(), others)
    }

    /// The processes that live now. Call it after loading, so that none is missed in between.
    ///
    /// # Errors
    /// [`SeedError`]: take them from /proc instead.
    pub fn seeds(&self) -> Result<Vec<SeedProcess>, SeedError> {
        let btf = Btf::from_sys_fs().map_err(|why| SeedError::Refused(chain(&why)))?;
        let seeds = seeds::all(&self.layout, &btf);
        drop(btf);
        memory::give_back();
        seeds
    }

    /// Every probe and how it fared.
    pub fn ladder(&self) -> Vec<ProbeState> {
        let others = self.sys_probes.iter().map(|probe| &probe.state);
        let hooks = self.net_hooks.iter().map(|hook| &hook.state);
        self.base_probes.iter().chain(others).chain(hooks).cloned().collect()
    }

    /// Kinds that at least one attached probe reports.
    pub fn observed(&self) -> KindSet {
        let attached = self.ladder().into_iter().filter(ProbeState::attached);
        attached.fold(KindSet::NONE, |kinds, probe| kinds.union(KindSet::of(&[probe.kind])))
    }

    /// Remarks on this kernel: facts that are left out.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What the programs did since loading, per kind.
    ///
    /// # Errors
    /// The kernel's word when a counter map cannot be read.
    pub fn counters(&self) -> Result<Vec<KindCounters>, MapError> {
        let mut kinds = Vec::new();
        for loaded in [&self.base, &self.sys, &self.net].into_iter().flatten() {
            kinds.extend(loaded.counters.totals()?);
        }
        Ok(kinds)
    }

    /// Verified instructions of each loaded program, where the kernel tells (5.16).
    pub fn verified_instructions(&self) -> Vec<(String, u32)> {
        let mut all = Vec::new();
        for loaded in [&self.base, &self.sys, &self.net].into_iter().flatten() {
            for (name, program) in loaded.object.programs() {
                let count = program.info().ok().and_then(|info| info.verified_instruction_count());
                all.extend(count.map(|count| (name.to_owned(), count)));
            }
        }
        all.extend(self.rungs.trampolines.verified.iter().map(|(name, count)| ((*name).to_owned(), *count)));
        all.sort();
        all
    }

    /// Stops all events. What is in the rings can still be read: see [`Rings::drain`].
    pub fn detach(&mut self) {
        self.sys_probes.iter_mut().for_each(SyscallProbe::close);
        for loaded in [&mut self.base, &mut self.sys, &mut self.net].into_iter().flatten() {
            for (_, program) in loaded.object.programs_mut() {
                // A program that never was loaded says so; there is nothing to do about it.
                let _ = match program {
                    Program::BtfTracePoint(program) => program.unload(),
                    Program::TracePoint(program) => program.unload(),
                    _ => Ok(()),
                };
            }
        }
        let others = self.sys_probes.iter_mut().map(|probe| &mut probe.state);
        let hooks = self.net_hooks.iter_mut().map(|hook| &mut hook.state);
        for probe in self.base_probes.iter_mut().chain(others).chain(hooks) {
            if probe.status == ProbeStatus::Attached {
                probe.set(ProbeStatus::Unwanted, "detached");
            }
        }
    }
}

/// A ring's map, its name for people, its size, and the kinds whose records lie in it.
type RingOf = (&'static str, &'static str, u32, Vec<EventKind>);

impl Loaded {
    fn new(object: Ebpf, rings: Vec<RingOf>, rung: Rung) -> Result<Self, LoadError> {
        let counters = |kinds: Vec<EventKind>| {
            let map = data(&object, "COUNTERS")?;
            Counters::new(map, kinds).map_err(|cause| LoadError::Map { map: "COUNTERS", cause })
        };
        let (mut readers, mut all) = (Vec::new(), Vec::new());
        for (map, name, bytes, kinds) in rings {
            let failed = |cause| LoadError::Ring { ring: name, cause };
            let fd = data(&object, map)?.fd().as_fd().try_clone_to_owned().map_err(failed)?;
            all.extend_from_slice(&kinds);
            let ring = Ring::new(fd, bytes).map_err(failed)?;
            readers.push(RingReader::new(name, rung, ring, counters(kinds)?));
        }
        Ok(Self { counters: counters(all)?, readers, object })
    }
}

fn data<'a>(object: &'a Ebpf, name: &'static str) -> Result<&'a MapData, LoadError> {
    match object.map(name) {
        Some(Map::PerCpuArray(map) | Map::RingBuf(map)) => Ok(map),
        _ => Err(LoadError::Map { map: name, cause: MapError::InvalidName { name: name.to_owned() } }),
    }
}

fn log_failure(probe: &ProbeState) {
    let (hook, why) = (probe.hook.as_ref(), probe.why.as_str());
    match probe.status {
        ProbeStatus::Missing => tracing::info!(hook, why, "this kernel has no such hook"),
        ProbeStatus::Refused => tracing::warn!(hook, why, "probe refused"),
        ProbeStatus::Attached | ProbeStatus::Unwanted => {}
    }
}

/// Memory of the machine; without an answer as little as makes the smallest sensible rings.
fn memory_bytes() -> u64 {
    let system = rustix::system::sysinfo();
    system.totalram.saturating_mul(u64::from(system.mem_unit)).max(1 << 30)
}
