//! The one entry: inputs in, events and lookups out.

use crate::domains::Domains;
use crate::image::{Birth, Identity};
use crate::owners::Owners;
use crate::programs::Programs;
use crate::table::{Table, Who};
use crate::workload::{Place, Workloads, is_root};
use crate::{Config, Output, Stats};
use hostward_event::event::{Body, Event, Signal, Surroundings};
use hostward_event::fact::{Fact, Input, Lookup, Notice, SeedProcess};
use hostward_event::plan::EnvironmentPlan;
use hostward_event::process::Process;
use hostward_event::raw::{Endpoint, Gap, RawBody, RawEvent, RawSignal, RawTask};
use hostward_event::workload::Workload;
use hostward_event::{EventId, EventKind, IdMint, Text};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The process table and the cgroup table, and what events get from them.
#[derive(Debug)]
pub struct Enricher {
    pub(crate) table: Table,
    pub(crate) workloads: Workloads,
    pub(crate) owners: Owners,
    pub(crate) programs: Programs,
    domains: Domains,
    around: Arc<Surroundings>,
    clock_offset_ns: i64,
    sequence: u64,
    /// The latest event time that was met.
    now_ns: u64,
    pub(crate) root_lookups: bool,
    seeds: u64,
    lookups: u64,
    answers: u64,
}

impl Enricher {
    /// Empty tables.
    pub fn new(config: &Config) -> Self {
        Self {
            table: Table::new(config),
            workloads: Workloads::new(config.max_cgroups, config.max_containers),
            owners: Owners::new(config),
            programs: Programs::new(config),
            domains: Domains::new(config.max_domains),
            around: Arc::default(),
            clock_offset_ns: 0,
            sequence: 0,
            now_ns: 0,
            root_lookups: config.root_lookups,
            seeds: 0,
            lookups: 0,
            answers: 0,
        }
    }

    /// Which variables of the environment processes keep from now on; at first none.
    pub fn keep_environment(&mut self, plan: &EnvironmentPlan) {
        self.table.environment.clone_from(plan);
    }

    /// Takes one input in and appends what follows. A ring record, a gap and a notice give exactly
    /// one event each, at once or when its container and its program are known; other inputs give those that waited for them. [`Input::Action`] is not for this crate.
    pub fn handle(&mut self, input: &Input, out: &mut Vec<Output>) {
        match input {
            Input::Raw(raw) => self.raw(raw, out),
            Input::Gap(gap) => self.gap(*gap, out),
            Input::Fact(fact) => self.learn(fact, out),
            Input::Tick(boot_ns) => self.advance(*boot_ns, out),
            Input::Action(_) => {}
        }
        for (pid, start_boot_ns) in self.table.take_unknown() {
            self.ask(Lookup::Process { pid, start_boot_ns }, out);
        }
    }

    /// Levels and counts.
    pub fn stats(&self) -> Stats {
        Stats {
            processes: self.table.living_count(),
            ended: self.table.ended_count(),
            cgroups: self.workloads.len(),
            events: self.sequence,
            inferred: self.table.counts.inferred,
            seeds: self.seeds,
            processes_evicted: self.table.counts.evicted,
            cgroups_evicted: self.workloads.evicted(),
            exits_missed: self.table.counts.exits_missed,
            lookups: self.lookups,
            answers: self.answers,
            containers: self.workloads.directory.containers(),
            pods: self.workloads.directory.pods(),
            held: self.owners.held() + self.programs.held(),
            complete: self.owners.complete,
            partial: self.owners.partial,
            programs: self.programs.known(),
            late: self.programs.late,
        }
    }

    /// The latest event time that was met, CLOCK_BOOTTIME ns.
    pub const fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// The living process of this pid, as far as it is known.
    pub fn process(&self, pid: u32) -> Option<&Arc<Process>> {
        self.table.process(pid)
    }

    /// All living processes, in no order.
    pub fn processes(&self) -> impl Iterator<Item = &Arc<Process>> {
        self.table.processes()
    }

    /// Where the living processes run, and how many run there. By cgroup path, then id.
    pub fn workloads(&self) -> Vec<(Arc<Workload>, usize)> {
        let mut found: BTreeMap<(Text, u64), (Arc<Workload>, usize)> = BTreeMap::new();
        for process in self.table.processes() {
            let workload = &process.workload;
            let key = (workload.path.clone(), workload.cgroup.id);
            found.entry(key).or_insert_with(|| (workload.clone(), 0)).1 += 1;
        }
        found.into_values().collect()
    }

    /// Machine, agent and names as events carry them now.
    pub fn surroundings(&self) -> &Arc<Surroundings> {
        &self.around
    }

    /// Mints ids as this enricher does, for records derived from its events.
    pub fn mint(&self) -> &IdMint {
        &self.table.mint
    }

    /// The wall clock at a boot time, ns since the epoch.
    pub fn wall_ns(&self, boot_ns: u64) -> i64 {
        i64::try_from(boot_ns).unwrap_or(i64::MAX).saturating_add(self.clock_offset_ns)
    }

    fn raw(&mut self, raw: &RawEvent, out: &mut Vec<Output>) {
        let (source, task) = (&raw.source, &raw.task);
        let at_ns = source.boot_ns;
        self.advance(at_ns, out);
        let (who, body) = match &raw.body {
            RawBody::Fork { parent_start_boot_ns, vpid, pid_ns } => {
                let parent = Identity::new(&self.table.mint, task.ppid, *parent_start_boot_ns);
                let workload = self.place_of_task(task, parent, at_ns, out);
                let birth = Birth { vpid: *vpid, pid_ns: *pid_ns };
                (self.table.fork(task, *parent_start_boot_ns, birth, workload, at_ns), Body::Fork)
            }
            RawBody::Exec(exec) => {
                let workload = self.place_of_exec(task, &exec.cgroup, at_ns, out);
                (self.table.exec(task, exec, workload, at_ns), Body::Exec { killed: exec.killed })
            }
            RawBody::Exit { status, utime_ns, stime_ns, usage } => {
                let workload = self.place_of_task(task, Identity::of(&self.table.mint, task), at_ns, out);
                let body =
                    Body::Exit { status: *status, utime_ns: *utime_ns, stime_ns: *stime_ns, usage: *usage };
                (self.table.exit(task, workload, at_ns), body)
            }
            RawBody::Open(open) => (self.act(task, at_ns, out), Body::Open(open.clone())),
            // At the end of a process after that was told.
            RawBody::CloseWrite(close) => (self.act(task, at_ns, out), Body::CloseWrite(close.clone())),
            RawBody::Cgroup(change) => {
                if change.removed {
                    self.workloads.gone(change.id, change.v1, at_ns);
                } else {
                    self.workloads.made(change.id, change.v1, &change.path);
                }
                (self.act(task, at_ns, out), Body::Cgroup(change.clone()))
            }
            RawBody::Connect(connect) => (self.act(task, at_ns, out), Body::Connect(connect.clone())),
            RawBody::ConnectionEnd(end) if !end.owned => {
                self.unowned(raw, Body::ConnectionEnd(end.clone()), out);
                return;
            }
            RawBody::Dns(dns) if !dns.owned => {
                self.unowned(raw, Body::Dns(dns.clone()), out);
                return;
            }
            RawBody::Dns(dns) => {
                let workload = self.place_of_task(task, Identity::of(&self.table.mint, task), at_ns, out);
                self.domains.learn(dns, &workload, at_ns);
                // An answer's task is as it was when it asked.
                let who = match dns.answer {
                    true => self.table.recall(task, workload, at_ns),
                    false => self.table.act(task, workload, at_ns),
                };
                (who, Body::Dns(dns.clone()))
            }
            RawBody::UdpSend(socket) => (self.act(task, at_ns, out), Body::UdpSend(socket.clone())),
            RawBody::ConnectionEnd(end) => {
                let workload = self.place_of_task(task, Identity::of(&self.table.mint, task), at_ns, out);
                (self.table.recall(task, workload, at_ns), Body::ConnectionEnd(end.clone()))
            }
            RawBody::Call(call) => (self.act(task, at_ns, out), Body::Call(call.clone())),
            RawBody::Signal(sent) => {
                (self.act(task, at_ns, out), Body::Signal(Box::new(self.signal(sent, at_ns))))
            }
        };
        let Who { process, lineage, session_leader } = who;
        let domain = self.domain(&body, &process.workload, at_ns);
        let id = self.table.mint.event(raw.kind(), source.cpu, source.seq, at_ns);
        self.sequence += 1;
        let event = Event {
            id,
            sequence: self.sequence,
            time_ns: self.wall_ns(at_ns),
            created_ns: self.wall_ns(source.received_boot_ns),
            source: Some(*source),
            tid: task.tid,
            process: Some(process),
            lineage,
            session_leader,
            around: self.around.clone(),
            body,
            program: None,
            inside: None,
            domain,
            partial: false,
            alert: None,
        };
        self.ask_for_program(&event, out);
        self.deliver(event, at_ns, out);
    }

    /// A record of which nobody knows whose it is.
    fn unowned(&mut self, raw: &RawEvent, body: Body, out: &mut Vec<Output>) {
        let (source, at_ns) = (&raw.source, raw.source.boot_ns);
        let id = self.table.mint.event(raw.kind(), source.cpu, source.seq, at_ns);
        let mut event = self.made(id, at_ns, body, None);
        event.created_ns = self.wall_ns(source.received_boot_ns);
        event.source = Some(*source);
        out.push(Output::Event(Arc::new(event)));
    }

    /// The name of the far end, by what was asked for before.
    fn domain(&self, body: &Body, workload: &Workload, at_ns: u64) -> Option<Text> {
        let (socket, at_ns) = match body {
            Body::Connect(socket) | Body::UdpSend(socket) => (socket.as_ref(), at_ns),
            Body::ConnectionEnd(end) => {
                (&end.socket, at_ns.saturating_sub(end.duration_ns.unwrap_or_default()))
            }
            Body::Call(call) => (call.socket.as_deref()?, at_ns),
            _ => return None,
        };
        match &socket.remote {
            Some(Endpoint::Ip(address)) => self.domains.name(address.ip(), workload, at_ns),
            _ => None,
        }
    }

    /// Who the signal is sent to, as far as the table knows.
    fn signal(&self, sent: &RawSignal, at_ns: u64) -> Signal {
        let target = Identity::new(&self.table.mint, sent.target_pid, sent.target_start_boot_ns);
        let known = self.table.as_it_was(target, at_ns);
        let entity_id = || self.table.mint.entity(sent.target_pid, sent.target_start_boot_ns);
        Signal {
            sent: sent.clone(),
            target_entity_id: known.map_or_else(entity_id, |known| known.entity_id),
            target_path: known.map_or(Text::EMPTY, |known| known.path.clone()),
        }
    }

    fn act(&mut self, task: &RawTask, at_ns: u64, out: &mut Vec<Output>) -> Who {
        let workload = self.place_of_task(task, Identity::of(&self.table.mint, task), at_ns, out);
        self.table.act(task, workload, at_ns)
    }

    /// Where the task of a record runs that tells nothing but an id: mostly where `like` runs.
    fn place_of_task(
        &mut self,
        task: &RawTask,
        like: Identity,
        at_ns: u64,
        out: &mut Vec<Output>,
    ) -> Arc<Workload> {
        if let Some(known) = self.table.workload(like) {
            let same = known.cgroup.id == task.cgroup_id;
            if same || task.cgroup_id == 0 || (is_root(known.cgroup.id) && is_root(task.cgroup_id)) {
                return known.clone();
            }
        }
        let place = self.workloads.place_by_id(task.cgroup_id, at_ns);
        self.settle(place, task, out)
    }

    fn place_of_exec(
        &mut self,
        task: &RawTask,
        cgroup: &hostward_event::raw::RawCgroup,
        at_ns: u64,
        out: &mut Vec<Output>,
    ) -> Arc<Workload> {
        if !is_root(cgroup.id) {
            let place = self.workloads.place(cgroup, at_ns);
            return self.settle(place, task, out);
        }
        let (pid, start_boot_ns) = (task.pid, task.start_boot_ns);
        if self.root_lookups {
            self.ask(Lookup::CgroupPath { cgroup_id: cgroup.id, pid, start_boot_ns }, out);
        }
        let known = self
            .table
            .workload(Identity::of(&self.table.mint, task))
            .filter(|known| is_root(known.cgroup.id));
        match known {
            Some(known) => known.clone(),
            None => self.workloads.place(cgroup, at_ns).workload,
        }
    }

    fn settle(&mut self, place: Place, task: &RawTask, out: &mut Vec<Output>) -> Arc<Workload> {
        if place.ask {
            let cgroup_id = place.workload.cgroup.id;
            let (pid, start_boot_ns) = (task.pid, task.start_boot_ns);
            self.ask(Lookup::CgroupPath { cgroup_id, pid, start_boot_ns }, out);
        }
        place.workload
    }

    fn advance(&mut self, now_ns: u64, out: &mut Vec<Output>) {
        self.now_ns = self.now_ns.max(now_ns);
        self.table.advance(self.now_ns);
        self.workloads.advance(self.now_ns);
        self.release_due(out);
        self.release_due_programs(out);
    }

    pub(crate) fn ask(&mut self, lookup: Lookup, out: &mut Vec<Output>) {
        self.lookups += 1;
        out.push(Output::Lookup(lookup));
    }

    fn learn(&mut self, fact: &Fact, out: &mut Vec<Output>) {
        match fact {
            Fact::Clock { offset_ns } => self.clock_offset_ns = *offset_ns,
            Fact::Host(host) => {
                self.table.mint = host.mint();
                Arc::make_mut(&mut self.around).host = host.clone();
            }
            Fact::Agent(agent) => Arc::make_mut(&mut self.around).agent = agent.clone(),
            Fact::Domains(domains) => Arc::make_mut(&mut self.around).domains = domains.clone(),
            Fact::Users(users) => Arc::make_mut(&mut self.around).users = users.clone(),
            Fact::Process(seed) => self.seed(seed, out),
            Fact::CgroupPath { cgroup_id, path, pid, start_boot_ns } => {
                self.answers += 1;
                self.learn_path(*cgroup_id, path, Identity::new(&self.table.mint, *pid, *start_boot_ns));
            }
            Fact::Programs { files, names } => self.learn_programs(*files, *names),
            Fact::Program { key, pid, start_boot_ns, facts, keep } => {
                self.learn_program(key, (*pid, *start_boot_ns), facts, *keep, out);
            }
            Fact::Names { container, names } => self.learn_names(container, names.as_ref(), out),
            Fact::Notice(notice) => self.notice(notice, out),
            Fact::CgroupContainer { cgroup_id, path, container, runtime } => {
                let changed = self.workloads.claim(*cgroup_id, path, container, runtime);
                for workload in &changed {
                    self.table.relocate_cgroup(workload);
                }
                for workload in &changed {
                    self.claimed(workload, out);
                }
            }
            Fact::Container(_)
            | Fact::ContainerGone { .. }
            | Fact::ContainerUnknown { .. }
            | Fact::Pod(_)
            | Fact::PodGone { .. }
            | Fact::Sources { .. } => self.learn_owner(fact, out),
        }
    }

    fn seed(&mut self, seed: &SeedProcess, out: &mut Vec<Output>) {
        self.seeds += 1;
        let workload = if is_root(seed.cgroup.id) {
            self.workloads.in_root(&seed.cgroup, &seed.cgroup_path)
        } else {
            let place = self.workloads.place(&seed.cgroup, 0);
            if seed.cgroup_path.is_empty() {
                let task = RawTask { pid: seed.pid, start_boot_ns: seed.start_boot_ns, ..RawTask::default() };
                self.settle(place, &task, out)
            } else {
                self.learn_path(seed.cgroup.id, &seed.cgroup_path, Identity::new(&self.table.mint, 0, 0));
                self.workloads.place(&seed.cgroup, 0).workload
            }
        };
        self.table.seed(seed, workload);
    }

    fn learn_path(&mut self, cgroup_id: u64, path: &Text, asked: Identity) {
        if is_root(cgroup_id) {
            let Some(known) = self.table.workload(asked) else { return };
            if known.path != *path && is_root(known.cgroup.id) {
                let workload = self.workloads.in_root(&known.cgroup, path);
                self.table.relocate_process(asked, &workload);
            }
            return;
        }
        for workload in self.workloads.learn(cgroup_id, path) {
            self.table.relocate_cgroup(&workload);
        }
    }

    fn gap(&mut self, gap: Gap, out: &mut Vec<Output>) {
        self.advance(gap.boot_ns, out);
        let id = self.table.mint.event(EventKind::Gap, gap.cpu, gap.first, gap.boot_ns);
        // Two kinds may be lost at once on one CPU.
        let id = self.table.mint.derived(id, gap.lost.name().as_bytes());
        self.without_process(id, gap.boot_ns, Body::Gap(gap), out);
    }

    fn notice(&mut self, notice: &Notice, out: &mut Vec<Output>) {
        let id = self.table.mint.event(EventKind::Agent, 0, self.sequence + 1, notice.boot_ns);
        let id = self.table.mint.derived(id, notice.action.as_bytes());
        self.without_process(id, notice.boot_ns, Body::Agent(notice.clone()), out);
    }

    fn without_process(&mut self, id: EventId, boot_ns: u64, body: Body, out: &mut Vec<Output>) {
        let event = self.made(id, boot_ns, body, None);
        out.push(Output::Event(Arc::new(event)));
    }

    /// An event that no ring told.
    pub(crate) fn made(
        &mut self,
        id: EventId,
        boot_ns: u64,
        body: Body,
        process: Option<Arc<Process>>,
    ) -> Event {
        self.sequence += 1;
        Event {
            id,
            sequence: self.sequence,
            time_ns: self.wall_ns(boot_ns),
            created_ns: self.wall_ns(boot_ns),
            source: None,
            tid: 0,
            process,
            lineage: Arc::default(),
            session_leader: None,
            around: self.around.clone(),
            body,
            program: None,
            inside: None,
            domain: None,
            partial: false,
            alert: None,
        }
    }
}
