//! The loaded sensor.

use crate::calls::{self, Calls};
use crate::checks::{self, Checks};
use crate::clock::boot_ns;
use crate::closes::Closes;
use crate::config::{Config, RingBytes};
use crate::counters::KindCounters;
use crate::error::{ApplyError, LoadError, SeedError, chain, object_refusal};
use crate::ia32::Ia32;
use crate::ignore::{self, Cgroups, Ignore, InForce};
use crate::ladder::{ProbeState, ProbeStatus};
use crate::layout::Layout;
use crate::load::{self, SyscallProbe, SyscallRungs};
use crate::loaded::{self, Loaded};
use crate::net::Hook;
use crate::persist::{Inherited, Marks, Persist, Pinned};
use crate::plan::{self, Kills, Opens};
use crate::ports::{self, Ports};
use crate::preflight::Privileges;
use crate::rings::Rings;
use crate::rungs::{self, Object};
use crate::sampling::SampledClass;
use crate::seeds::Identity;
use crate::{budget, cgroup, lean, memory, misses, preflight, sampling, seeds, uring};
use aya::maps::MapError;
use aya::programs::Program;
use aya::{Btf, Ebpf};
use hostward_event::fact::SeedProcess;
use hostward_event::plan::KernelPlan;
use hostward_event::{EventKind, KindSet, Text};
use std::os::fd::AsFd;
use std::path::Path;

/// Hostward's programs in the kernel. Dropping it detaches and unloads everything.
pub struct Sensor {
    layout: Layout,
    base: Option<Loaded>,
    sys: Option<Loaded>,
    net: Option<Loaded>,
    /// In place of all others, where the kernel lets no program read its memory.
    lean: Option<Loaded>,
    lean_probes: Vec<ProbeState>,
    base_hooks: Vec<Hook>,
    sys_probes: Vec<SyscallProbe>,
    net_hooks: Vec<Hook>,
    uring_hooks: Vec<Hook>,
    checks: Checks,
    ia32: Ia32,
    closes: Closes,
    signal_hooks: Vec<Hook>,
    syscall_rungs: SyscallRungs,
    opens: Opens,
    calls: Calls,
    ports: Ports,
    kills: Kills,
    ignore: Vec<Ignore>,
    ignored_cgroups: Option<Cgroups>,
    wanted: InForce,
    notes: Vec<String>,
    kernel_bytes: u64,
    persist: Persist,
}

impl Sensor {
    /// Loads the programs, puts `plan` in force and attaches. Each object degrades alone: what did
    /// not work is in [`Self::ladder`] and was logged once. Goes on with what an agent before this one has pinned, or
    /// takes it over: see [`Self::inherited`].
    ///
    /// # Errors
    /// [`LoadError`] when nothing at all is observed.
    pub fn load(config: &Config, plan: &KernelPlan) -> Result<Self, LoadError> {
        Self::with(config, plan, true)
    }

    /// As [`Self::load`] for a look at what works: nothing is pinned, and what is pinned is left alone.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_apart(config: &Config, plan: &KernelPlan) -> Result<Self, LoadError> {
        Self::with(config, plan, false)
    }

    fn with(config: &Config, plan: &KernelPlan, heed_pins: bool) -> Result<Self, LoadError> {
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
        let own = seeds::own(&layout, &btf).unwrap_or_else(|why| {
            notes.push(format!("{why}; the agent's own process id is taken from its own pid namespace"));
            Identity { pid: std::process::id(), start_boot_ns: None }
        });
        // Those that may ever be there, as the kernel has maps for each.
        let cpus = aya::util::nr_cpus().unwrap_or(1);
        let rings = config.ring_bytes(cpus as u64, memory_bytes());
        let syscall_rungs = SyscallRungs::new(layout.has_sockets, config.trampolines);
        let uring_hooks = uring::hooks(&layout);
        let closes = Closes::new(&layout);
        let mut sensor = Self {
            layout,
            base: None,
            sys: None,
            net: None,
            lean: None,
            lean_probes: Vec::new(),
            base_hooks: rungs::of(Object::Base).map(Hook::of).collect(),
            sys_probes: SyscallProbe::all(),
            net_hooks: rungs::of(Object::Net).map(Hook::of).collect(),
            uring_hooks,
            checks: Checks::new(),
            ia32: Ia32::new(),
            closes,
            signal_hooks: rungs::of(Object::Sys)
                .filter(|probe| probe.kind == EventKind::Signal)
                .map(Hook::of)
                .collect(),
            syscall_rungs,
            opens: Opens::default(),
            calls: Calls::default(),
            ports: Ports::default(),
            kills: Kills::default(),
            ignore: config.ignore.clone(),
            ignored_cgroups: None,
            wanted: InForce::nothing(),
            notes,
            kernel_bytes: 0,
            persist: if heed_pins { Persist::claim(config) } else { Persist::default() },
        };
        if preflight::forbids_reads() {
            if config.persist && heed_pins {
                sensor
                    .persist
                    .give_up("the reduced sensor for lockdown=confidentiality is not pinned".into());
            }
            sensor.load_lean(rings, own)?;
        } else {
            sensor.begin_pins(config, rings, own);
            sensor.load_base(rings, own)?;
            sensor.load_sys(rings, own)?;
            sensor.load_net(rings, own, &btf)?;
        }
        sensor.ignore().map_err(|cause| LoadError::Map { map: "IGNORE", cause })?;
        sensor.attach_for_table(plan.kinds, Some(&btf));
        sensor.swap(plan).map_err(|why| LoadError::Map { map: why.map, cause: why.cause })?;
        let attached_ns = boot_ns();
        sensor.attach_base(&btf);
        sensor.scan_ignored_cgroups();
        sensor.attach_sys(plan.kinds, Some(&btf));
        sensor.attach_net(plan.kinds);
        sensor.attach_lean(plan.kinds, Some(&btf));
        drop(btf);
        memory::give_back();
        // Who sees nothing ends: what is pinned goes on then as ever while no agent runs.
        sensor.report()?;
        // Only once all that takes its place is attached.
        sensor.persist.take_over(attached_ns);
        let maps: u64 = sensor.objects().map(|loaded| budget::of(&loaded.object)).sum();
        sensor.kernel_bytes = maps + sensor.persist.kernel_bytes();
        Ok(sensor)
    }

    /// Loads the reduced sensor, and says of all else why it is not there.
    fn load_lean(&mut self, rings: RingBytes, own: Identity) -> Result<(), LoadError> {
        self.notes.push(lean::NOTE.to_owned());
        self.lean_probes = rungs::of(Object::Lean).map(ProbeState::of).collect();
        let told = |kind| self.lean_probes.iter().any(|probe| probe.kind == kind);
        self.base_hooks.retain(|hook| !told(hook.state.kind));
        self.sys_probes.retain(|probe| !told(probe.state.kind));
        self.net_hooks.retain(|hook| !told(hook.state.kind));
        let hooks = self.base_hooks.iter_mut().chain(&mut self.net_hooks);
        let hooks = hooks.chain(&mut self.uring_hooks).chain(&mut self.signal_hooks);
        let calls = self.sys_probes.iter_mut().map(|probe| &mut probe.state);
        let others = calls.chain(hooks.map(|hook| &mut hook.state));
        others.for_each(|probe| probe.set(ProbeStatus::Refused, lean::WHY));
        self.closes.refuse(lean::WHY);
        match self.load_object(Object::Lean, rings, own)? {
            Ok(lean) => self.lean = Some(lean),
            Err(why) => self.lean_probes.iter_mut().for_each(|probe| probe.set(ProbeStatus::Refused, &why)),
        }
        Ok(())
    }

    /// Chooses where programs are pinned that are to outlive the agent.
    fn begin_pins(&mut self, config: &Config, rings: RingBytes, own: Identity) {
        if own.start_boot_ns.is_some() {
            self.persist.begin(config, &self.layout, rings);
        } else if config.persist {
            // By its number alone another process could pass for it when it is gone.
            self.persist.give_up("this kernel does not tell when the agent began (no task iterator)".into());
        }
    }

    /// Loads an object; with maps that outlive the agent, and maybe have outlived another, where that is wanted. Gives
    /// why the kernel refuses it.
    fn load_object(
        &mut self,
        of: Object,
        rings: RingBytes,
        own: Identity,
    ) -> Result<Result<Loaded, String>, LoadError> {
        let (pins, sizes) = (self.persist.pinned(of), loaded::sizes(of, rings));
        if pins.is_wanted() {
            let found = pins.found();
            match self.load_pinned(of, &sizes, pins, own) {
                Ok(loaded) => return Ok(Ok(loaded)),
                Err(why) => self.persist.leave_out(of, found, &why),
            }
        }
        match load::object(of.bytes(), &self.layout, &sizes, &[]) {
            Ok(object) => Loaded::new(object, of, Pinned::default(), own).map(Ok),
            Err(why) => Ok(Err(object_refusal(&why))),
        }
    }

    fn load_pinned(
        &mut self,
        of: Object,
        sizes: &[(&str, u32)],
        mut pins: Pinned,
        own: Identity,
    ) -> Result<Loaded, String> {
        let object = load::object(of.bytes(), &self.layout, sizes, &pins.map_paths());
        let object = object.map_err(|why| object_refusal(&why))?;
        pins.loaded(&object);
        if pins.found() {
            self.find_plan(of, &object).map_err(|why| why.to_string())?;
        }
        let mut loaded = Loaded::new(object, of, pins, own).map_err(|why| why.to_string())?;
        self.persist.resume(of, loaded.pins.found(), &mut loaded.readers)?;
        Ok(loaded)
    }

    /// Reads the plan that another agent has put in force.
    fn find_plan(&mut self, of: Object, object: &Ebpf) -> Result<(), ApplyError> {
        match of {
            Object::Base => self.kills = Kills::in_force(object)?,
            Object::Sys => {
                (self.opens, self.calls) = (Opens::in_force(object)?, Calls::in_force(object)?);
                (self.ports, self.wanted) = (Ports::in_force(object)?, InForce::found(object)?);
            }
            Object::Net | Object::Lean => {}
        }
        Ok(())
    }

    fn attach_lean(&mut self, kinds: KindSet, btf: Option<&Btf>) {
        if let (Some(lean), Some(btf)) = (&mut self.lean, btf) {
            lean::attach(&mut self.lean_probes, &mut lean.object, kinds, btf);
        }
    }

    /// Those that are loaded.
    fn objects(&self) -> impl Iterator<Item = &Loaded> {
        [&self.base, &self.sys, &self.net, &self.lean].into_iter().flatten()
    }

    fn load_base(&mut self, rings: RingBytes, own: Identity) -> Result<(), LoadError> {
        match self.load_object(Object::Base, rings, own)? {
            Ok(mut base) => {
                self.base_hooks.iter_mut().for_each(|hook| hook.adopt(&mut base.pins, None));
                base.pins.sweep();
                self.base = Some(base);
            }
            Err(why) => {
                self.base_hooks.iter_mut().for_each(|hook| hook.state.set(ProbeStatus::Refused, &why));
            }
        }
        Ok(())
    }

    fn load_sys(&mut self, rings: RingBytes, own: Identity) -> Result<(), LoadError> {
        match self.load_object(Object::Sys, rings, own)? {
            Ok(mut sys) => {
                self.syscall_rungs.trampolines.adopt(&sys.pins);
                self.sys_probes.iter_mut().for_each(|probe| probe.adopt(&mut sys.pins));
                self.signal_hooks.iter_mut().for_each(|hook| hook.adopt(&mut sys.pins, None));
                uring::adopt(&mut self.uring_hooks, &mut sys.pins);
                self.checks.adopt(&mut sys.pins);
                self.ia32.adopt(&mut sys.pins);
                self.closes.adopt(&mut sys.pins);
                sys.pins.sweep();
                if sys.pins.found() {
                    let failed = |why: ApplyError| LoadError::Map { map: why.map, cause: why.cause };
                    sampling::lift(&mut sys.object).map_err(failed)?;
                }
                self.sys = Some(sys);
            }
            Err(why) => {
                self.sys_probes.iter_mut().for_each(|probe| probe.state.set(ProbeStatus::Refused, &why));
                let hooks = (self.uring_hooks.iter_mut().chain(&mut self.signal_hooks))
                    .chain(&mut self.checks.hooks)
                    .chain(&mut self.ia32.hooks);
                hooks.for_each(|hook| hook.state.set(ProbeStatus::Refused, &why));
                self.closes.refuse(&why);
            }
        }
        Ok(())
    }

    fn load_net(&mut self, rings: RingBytes, own: Identity, btf: &Btf) -> Result<(), LoadError> {
        if !self.layout.has_sockets {
            let why = "this kernel does not tell where a socket's addresses are";
            self.net_hooks.iter_mut().for_each(|hook| hook.state.set(ProbeStatus::Refused, why));
            return Ok(());
        }
        match self.load_object(Object::Net, rings, own)? {
            Ok(mut net) => {
                for hook in &mut self.net_hooks {
                    hook.adopt(&mut net.pins, None);
                    // Also of one that is attached: a later plan may detach it, and one after that want it again.
                    hook.load(&mut net.object, btf);
                }
                net.pins.sweep();
                self.net = Some(net);
            }
            Err(why) => {
                self.net_hooks.iter_mut().for_each(|hook| hook.state.set(ProbeStatus::Refused, &why));
            }
        }
        Ok(())
    }

    fn ignore(&mut self) -> Result<(), MapError> {
        if let Some(sys) = &mut self.sys
            && !self.ignore.is_empty()
        {
            self.ignored_cgroups = ignore::Table::new(&self.ignore).write(&mut sys.object)?;
        }
        Ok(())
    }

    /// After cgroups that are made are told, so that none is missed in between.
    fn scan_ignored_cgroups(&mut self) {
        let Some(cgroups) = &mut self.ignored_cgroups else { return };
        match cgroup::unified_root(Path::new("/proc")) {
            Some(root) => cgroups.scan(&root),
            None => self.notes.push(
                "[[sensor.ignore]] cgroup: no unified hierarchy is mounted, so these blocks ignore nothing"
                    .into(),
            ),
        }
    }

    /// How many events each block of `ignore` left out.
    ///
    /// # Errors
    /// The kernel's word when the map cannot be read.
    pub fn ignored(&self) -> Result<Vec<(String, u64)>, MapError> {
        self.sys.as_ref().map_or(Ok(Vec::new()), |sys| ignore::counts(&sys.object, &self.ignore))
    }

    fn attach_net(&mut self, kinds: KindSet) {
        if let Some(net) = &mut self.net {
            for hook in &mut self.net_hooks {
                hook.want(&mut net.object, &mut net.pins, kinds.contains(hook.state.kind));
            }
        }
    }

    fn attach_base(&mut self, btf: &Btf) {
        let Some(base) = &mut self.base else {
            return;
        };
        for hook in &mut self.base_hooks {
            if hook.lacks_program() {
                hook.load(&mut base.object, btf);
            }
            hook.want(&mut base.object, &mut base.pins, true);
        }
    }

    /// Programs that tell the paths of calls, and calls of i386, before the table asks for them.
    fn attach_for_table(&mut self, kinds: KindSet, btf: Option<&Btf>) {
        let Some(sys) = &mut self.sys else { return };
        let trampolines = &mut self.syscall_rungs.trampolines;
        self.checks.attach(&mut sys.object, &mut sys.pins, trampolines, btf, kinds);
        if let Some(why) = self.checks.impossible.take() {
            self.notes.push(format!("paths of system calls are told as programs give them: {why}"));
        }
        self.ia32.attach(&mut sys.object, &mut sys.pins, trampolines, btf, kinds);
        self.notes.extend(self.ia32.impossible.take());
    }

    fn attach_sys(&mut self, kinds: KindSet, btf: Option<&Btf>) {
        let Some(sys) = &mut self.sys else {
            return;
        };
        for probe in &mut self.sys_probes {
            if probe.lacks(kinds) {
                probe.attach(&mut sys.object, &mut sys.pins, &mut self.syscall_rungs, btf);
            } else if !kinds.contains(probe.state.kind) {
                probe.close(&mut sys.pins);
            }
        }
        self.checks.detach_others(&mut sys.object, &mut sys.pins, kinds);
        self.ia32.detach_others(&mut sys.object, &mut sys.pins, kinds);
        let closes = kinds.contains(EventKind::CloseWrite);
        self.closes.want(&mut sys.object, &mut sys.pins, &mut self.syscall_rungs, btf, closes);
        let wanted = uring::wanted(kinds);
        if wanted && let Some(btf) = btf {
            uring::load(&mut self.uring_hooks, &mut sys.object, btf);
        }
        let signals = kinds.contains(EventKind::Signal);
        for hook in &mut self.signal_hooks {
            if signals
                && hook.lacks_program()
                && let Some(btf) = btf
            {
                hook.load(&mut sys.object, btf);
            }
            hook.want(&mut sys.object, &mut sys.pins, signals);
        }
        for hook in &mut self.uring_hooks {
            hook.want(&mut sys.object, &mut sys.pins, wanted);
        }
    }

    /// Logs what did not work; fails when nothing did.
    fn report(&self) -> Result<(), LoadError> {
        for note in &self.notes {
            tracing::info!("sensor: {note}");
        }
        let ladder = self.ladder();
        // Of the reduced sensor one note says it all.
        ladder.iter().filter(|probe| probe.why != lean::WHY).for_each(log_failure);
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
        let before = self.ladder();
        // The type information is long, so it is only there while probes are attached.
        let more = self.syscall_rungs.trampolines.may_work()
            && (self.checks.lack(plan.kinds)
                || self.ia32.lack(plan.kinds)
                || plan.kinds.contains(EventKind::CloseWrite) && self.closes.lacks_program()
                || self.sys_probes.iter().any(|p| p.lacks(plan.kinds)))
            || uring::wanted(plan.kinds) && self.uring_hooks.iter().any(Hook::lacks_program)
            || plan.kinds.contains(EventKind::Signal) && self.signal_hooks.iter().any(Hook::lacks_program)
            || self.lean.is_some();
        let btf = if more { Btf::from_sys_fs().ok() } else { None };
        self.attach_for_table(plan.kinds, btf.as_ref());
        self.swap(plan)?;
        self.attach_sys(plan.kinds, btf.as_ref());
        self.attach_lean(plan.kinds, btf.as_ref());
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
        let (opens, calls, kills) = (
            Opens::new(plan),
            Calls::new(plan, self.checks.attached(), self.ia32.sees_calls()),
            Kills::new(plan, self.lean.is_some()),
        );
        let ports = Ports::new(plan);
        if let Some(sys) = &mut self.sys {
            plan::swap_opens(&mut sys.object, &self.opens, &opens)?;
            calls::swap(&mut sys.object, &self.calls, &calls)?;
            ports::swap(&mut sys.object, &self.ports, &ports)?;
            self.wanted.swap(&mut sys.object, ignore::Table::wanted(plan))?;
            uring::swap(&mut sys.object, plan.kinds)?;
        }
        if let Some(lean) = &mut self.lean {
            plan::swap_opens(&mut lean.object, &self.opens, &opens)?;
        }
        (self.opens, self.calls, self.ports) = (opens, calls, ports);
        if let Some(base) = self.base.as_mut().or(self.lean.as_mut()) {
            plan::swap_kills(&mut base.object, &self.kills, &kills)?;
        }
        if let Some(base) = &mut self.base {
            plan::set_environment(&mut base.object, !plan.environment.is_empty())?;
        }
        self.kills = kills;
        Ok(())
    }

    /// Limits what each process may tell of `class` to `most` events a second; 0: no limit. What is left out is counted.
    ///
    /// # Errors
    /// [`ApplyError`]; the limit is as it was.
    pub fn limit(&mut self, class: SampledClass, most: u32) -> Result<(), ApplyError> {
        self.sys.as_mut().map_or(Ok(()), |sys| sampling::limit(&mut sys.object, class, most))
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
        if let Some(lean) = &mut self.lean {
            let mut readers = std::mem::take(&mut lean.readers).into_iter();
            process.extend(readers.next());
            others.extend(readers);
        }
        Rings::new(process.pop(), others, self.ignored_cgroups.take(), self.persist.overlap())
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
        let base = self.base_hooks.iter().map(|hook| &hook.state);
        let hooks = self
            .net_hooks
            .iter()
            .chain(&self.uring_hooks)
            .chain(&self.signal_hooks)
            .chain(&self.ia32.hooks)
            .map(|hook| &hook.state)
            .chain(self.checks.states());
        let hooks = hooks.chain(self.closes.states());
        self.lean_probes.iter().chain(base).chain(others).chain(hooks).cloned().collect()
    }

    /// Kinds that at least one attached probe reports.
    pub fn observed(&self) -> KindSet {
        // What comes through io_uring is of kinds that system calls report as well; checks tell of those.
        let calls = self.sys_probes.iter().map(|probe| &probe.state);
        let hooks = self.base_hooks.iter().chain(&self.net_hooks).chain(&self.signal_hooks);
        let hooks = hooks.map(|hook| &hook.state).chain(self.closes.states());
        let attached = self.lean_probes.iter().chain(calls).chain(hooks).filter(|probe| probe.attached());
        attached.fold(KindSet::NONE, |kinds, probe| kinds.union(KindSet::of(&[probe.kind])))
    }

    /// Remarks on this kernel: facts that are left out.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What programs that outlived another agent had for this one. Only the first call's is not empty.
    pub fn inherited(&mut self) -> Inherited {
        self.persist.inherited()
    }

    /// Where the programs are pinned, so that they outlive the agent.
    pub fn pinned(&self) -> Option<&Path> {
        self.persist.place()
    }

    /// Why not all is pinned that was to be.
    pub fn unpinned(&self) -> Option<String> {
        let each = self.objects().flat_map(|loaded| loaded.pins.why_not());
        let all: Vec<String> = self.persist.why_not().iter().cloned().chain(each).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// Where it is to be noted which events of pinned programs were handled.
    pub fn marks(&self) -> Option<Marks> {
        self.persist.marks()
    }

    /// Notes that the agent goes in order: all that it has read is handled.
    pub fn leave(&self) {
        self.persist.leave();
    }

    /// Memory that the programs' maps take in the kernel, bytes, as it accounts it.
    pub const fn kernel_bytes(&self) -> u64 {
        self.kernel_bytes
    }

    /// What all maps but the rings take on so many CPUs by calculation, bytes: at most.
    pub const fn calculated_bytes(cpus: u64) -> u64 {
        budget::without_rings(cpus)
    }

    /// What the programs did since loading, per kind.
    ///
    /// # Errors
    /// The kernel's word when a counter map cannot be read.
    pub fn counters(&self) -> Result<Vec<KindCounters>, MapError> {
        let mut kinds = Vec::new();
        for loaded in self.objects() {
            kinds.extend(loaded.counters.totals()?);
        }
        Ok(kinds)
    }

    /// How often each program was not run, as one was running already on that CPU, by what it hooks; only those that
    /// missed something. What happened then is not told. Kernels before 5.12 do not tell this. `paths of calls`: calls
    /// that succeeded and are told with their texts, as no program kept the paths for them.
    pub fn missed(&self) -> Vec<(String, u64)> {
        let mut all: Vec<(String, u64)> = Vec::new();
        for loaded in self.objects() {
            all.extend(loaded.pins.missed());
            for (name, program) in loaded.object.programs() {
                let missed = program.fd().ok().and_then(|fd| misses::of(fd.as_fd()));
                all.extend(missed.map(|missed| (name.to_owned(), missed)));
            }
        }
        for probe in &self.sys_probes {
            let missed = probe.own_program().and_then(misses::of);
            all.extend(missed.map(|missed| (probe.state.hook.to_string(), missed)));
        }
        let unresolved = self.sys.as_ref().and_then(|sys| checks::unresolved(&sys.object));
        all.extend(unresolved.map(|calls| ("paths of calls".to_owned(), calls)));
        all.retain(|(_, missed)| *missed != 0);
        all
    }

    /// Verified instructions of each loaded program, where the kernel tells (5.16).
    pub fn verified_instructions(&self) -> Vec<(String, u32)> {
        let mut all = Vec::new();
        for loaded in self.objects() {
            all.extend(loaded.pins.verified_instructions());
            for (name, program) in loaded.object.programs() {
                let count = program.info().ok().and_then(|info| info.verified_instruction_count());
                all.extend(count.map(|count| (name.to_owned(), count)));
            }
        }
        all.extend(
            self.syscall_rungs.trampolines.verified.iter().map(|(name, count)| ((*name).to_owned(), *count)),
        );
        all.sort();
        all
    }

    /// Stops all events but those of pinned programs. What is in the rings can still be read: see [`Rings::drain`].
    pub fn detach(&mut self) {
        self.sys_probes.iter_mut().for_each(SyscallProbe::let_go);
        self.closes.let_go();
        let hooks = self.base_hooks.iter_mut().chain(&mut self.net_hooks).chain(&mut self.uring_hooks);
        let of_calls = self.checks.hooks.iter_mut().chain(&mut self.ia32.hooks);
        hooks.chain(&mut self.signal_hooks).chain(of_calls).for_each(Hook::let_go);
        for loaded in [&mut self.base, &mut self.sys, &mut self.net, &mut self.lean].into_iter().flatten() {
            for (_, program) in loaded.object.programs_mut() {
                // A program that never was loaded says so; there is nothing to do about it.
                let _ = match program {
                    Program::BtfTracePoint(program) => program.unload(),
                    Program::TracePoint(program) => program.unload(),
                    Program::CgroupSockAddr(program) => program.unload(),
                    Program::CgroupSkb(program) => program.unload(),
                    Program::FEntry(program) => program.unload(),
                    Program::FExit(program) => program.unload(),
                    _ => Ok(()),
                };
            }
        }
        load::settle();
        for probe in self.lean_probes.iter_mut().filter(|probe| probe.attached()) {
            probe.set(ProbeStatus::Unwanted, "detached");
        }
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
