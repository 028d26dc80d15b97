//! The process table: who lives, who has ended lately, and who created whom.

mod entry;
mod kinship;
mod sources;

pub(crate) use entry::Entry;

use crate::bounded::Bounded;
use crate::image::Identity;
use crate::{Config, MAX_LINEAGE};
use entry::Link;
use foldhash::quality::RandomState;
use hostward_event::IdMint;
use hostward_event::plan::EnvironmentPlan;
use hostward_event::process::Process;
use hostward_event::workload::Workload;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// Ancestors, the nearest first.
pub(crate) type Lineage = Arc<[Arc<Process>]>;

/// The process of a record with its relations, as the event carries them.
#[derive(Debug)]
pub(crate) struct Who {
    pub process: Arc<Process>,
    pub lineage: Lineage,
    pub session_leader: Option<Arc<Process>>,
}

/// How the process of a record stands to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// In the table.
    Living,
    /// Ended, and remembered.
    Ended,
    /// Older than the living process of the same pid, and not remembered.
    Forgotten,
    /// Not in the table.
    New,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub inferred: u64,
    pub evicted: u64,
    pub exits_missed: u64,
}

#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) mint: IdMint,
    living: Bounded<u32, Entry>,
    ended: HashMap<Identity, Entry, RandomState>,
    /// In the order of their ends, with the event time of it.
    ended_queue: VecDeque<(Identity, u64)>,
    /// Pid of the process that an entry's link leads to, and the pids of these entries.
    children: HashMap<u32, HashSet<u32, RandomState>, RandomState>,
    max_ended: usize,
    ended_ttl_ns: u64,
    now_ns: u64,
    /// Processes that were inferred and not asked about yet: pid and start.
    unknown: Vec<(u32, u64)>,
    /// Goes up whenever what a process with children is, or who its ancestors are, changes: lines that were kept
    /// before hold no longer.
    epoch: u64,
    pub(crate) counts: Counts,
    /// Which variables of the environment are kept.
    pub(crate) environment: EnvironmentPlan,
}

impl Table {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            mint: IdMint::new("", ""),
            living: Bounded::new(config.max_processes),
            ended: HashMap::default(),
            ended_queue: VecDeque::new(),
            children: HashMap::default(),
            max_ended: config.max_ended.get(),
            ended_ttl_ns: u64::from(config.ended_ttl_s) * 1_000_000_000,
            now_ns: 0,
            unknown: Vec::new(),
            epoch: 0,
            counts: Counts::default(),
            environment: EnvironmentPlan::default(),
        }
    }

    pub(crate) fn living_count(&self) -> usize {
        self.living.len()
    }

    pub(crate) fn ended_count(&self) -> usize {
        self.ended.len()
    }

    /// The living process of this pid.
    pub(crate) fn process(&self, pid: u32) -> Option<&Arc<Process>> {
        self.living.find(pid).map(|entry| &entry.now.process)
    }

    /// All living processes, in no order.
    pub(crate) fn processes(&self) -> impl Iterator<Item = &Arc<Process>> {
        self.living.iter().map(|(_, entry)| &entry.now.process)
    }

    pub(crate) fn take_unknown(&mut self) -> Vec<(u32, u64)> {
        std::mem::take(&mut self.unknown)
    }

    /// Lets event time pass: the ended are forgotten when theirs is up.
    pub(crate) fn advance(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        while let Some((identity, ended_ns)) = self.ended_queue.front().copied() {
            let fresh = self.now_ns.saturating_sub(ended_ns) <= self.ended_ttl_ns;
            if fresh && self.ended.len() <= self.max_ended {
                break;
            }
            self.ended_queue.pop_front();
            self.ended.remove(&identity);
        }
    }

    fn living_as(&self, identity: Identity) -> Option<&Entry> {
        self.living.find(identity.pid).filter(|entry| entry.identity == identity)
    }

    /// Looks the process of a record up. A living process of the same pid that began earlier must
    /// have ended, as its pid is used again.
    fn standing(&mut self, identity: Identity) -> Standing {
        match self.living.find(identity.pid).map(|entry| entry.identity) {
            Some(living) if living == identity => return Standing::Living,
            Some(living) if living.start > identity.start => {
                return if self.ended.contains_key(&identity) {
                    Standing::Ended
                } else {
                    Standing::Forgotten
                };
            }
            Some(_) => {
                self.counts.exits_missed += 1;
                self.bury(identity.pid);
            }
            None => {}
        }
        if self.ended.contains_key(&identity) { Standing::Ended } else { Standing::New }
    }

    /// What a process known by `identity` was at that time, if it is known.
    pub(crate) fn as_it_was(&self, identity: Identity, at_ns: u64) -> Option<&Arc<Process>> {
        let entry = self.living_as(identity).or_else(|| self.ended.get(&identity))?;
        Some(&entry.image_at(at_ns).process)
    }

    /// What a process known by `identity` is in, if it is known.
    pub(crate) fn workload(&self, identity: Identity) -> Option<&Arc<Workload>> {
        let entry = self.living_as(identity).or_else(|| self.ended.get(&identity))?;
        Some(&entry.now.process.workload)
    }

    fn insert(&mut self, entry: Entry) {
        let pid = entry.identity.pid;
        // Some may have waited for it, as their parent.
        self.changed(pid);
        self.register(pid, entry.link);
        if let Some((evicted, entry)) = self.living.insert(pid, entry) {
            self.counts.evicted += 1;
            self.unregister(evicted, entry.link);
            self.hand_over(&entry);
        }
    }

    /// Moves a living process to the ended.
    fn bury(&mut self, pid: u32) {
        if let Some(entry) = self.living.remove(pid) {
            self.unregister(pid, entry.link);
            self.end(entry);
        }
    }

    /// Remembers a process that has ended, and lets its children take it over.
    fn end(&mut self, entry: Entry) {
        self.hand_over(&entry);
        entry.forget_line();
        self.ended_queue.push_back((entry.identity, self.now_ns));
        self.ended.insert(entry.identity, entry);
        self.advance(self.now_ns);
    }

    /// `entry` as it was at `at_ns`, with its relations as they are now.
    fn who(&self, entry: &Entry, at_ns: u64) -> Who {
        let process = entry.image_at(at_ns).process.clone();
        let session_leader = self.session_leader(&process);
        Who { lineage: self.lineage(entry), session_leader, process }
    }

    fn session_leader(&self, process: &Arc<Process>) -> Option<Arc<Process>> {
        match process.sid {
            0 => None,
            sid if sid == process.pid => Some(process.clone()),
            // The kernel does not use the number again while the session lives.
            sid => {
                let leader = &self.living.find(sid)?.now.process;
                (leader.start_boot_ns <= process.start_boot_ns).then(|| leader.clone())
            }
        }
    }

    fn lineage(&self, entry: &Entry) -> Lineage {
        match entry.link.and_then(|link| self.target(link)) {
            Some(parent) if entry.kin.is_empty() => self.line(parent),
            parent => self.walk(entry.kin.clone(), parent).0.into(),
        }
    }

    /// A process and its ancestors, as its children have them: kept with the process, since one parent's children
    /// tell many events.
    fn line(&self, entry: &Entry) -> Lineage {
        if let Some(kept) = entry.kept_line(self.epoch) {
            return kept;
        }
        let (line, living) = self.walk(Vec::with_capacity(MAX_LINEAGE), Some(entry));
        let line = Lineage::from(line);
        // Of the ended nobody tells when they are forgotten.
        if living {
            entry.keep_line(self.epoch, line.clone());
        }
        line
    }

    /// Appends a process and its ancestors; true when all of them live.
    fn walk<'a>(
        &'a self,
        mut line: Vec<Arc<Process>>,
        mut next: Option<&'a Entry>,
    ) -> (Vec<Arc<Process>>, bool) {
        let mut living = true;
        // Each turn adds one, so a circle of wrong links ends too.
        while let Some(at) = next.filter(|_| line.len() < MAX_LINEAGE) {
            if let Some(rest) = at.kept_line(self.epoch) {
                line.extend(rest.iter().cloned());
                break;
            }
            line.push(at.now.process.clone());
            line.extend(at.kin.iter().cloned());
            living &= self.living_as(at.identity).is_some();
            next = at.link.and_then(|link| self.target(link));
        }
        line.truncate(MAX_LINEAGE);
        (line, living)
    }

    /// What a process is, or who its ancestors are, has changed.
    fn changed(&mut self, pid: u32) {
        self.epoch += u64::from(self.children.contains_key(&pid));
    }

    fn target(&self, link: Link) -> Option<&Entry> {
        match link {
            Link::Exact(identity) => self.living_as(identity).or_else(|| self.ended.get(&identity)),
            Link::Pid { .. } => self.living.find(link.pid()).filter(|entry| link.leads_to(entry.identity)),
        }
    }

    /// Takes in where all processes of a cgroup run, now that its path is known.
    pub(crate) fn relocate_cgroup(&mut self, workload: &Arc<Workload>) {
        self.epoch += 1;
        for entry in self.living.values_mut() {
            entry.relocate(workload, |old| {
                old.cgroup.id == workload.cgroup.id && old.cgroup.v1 == workload.cgroup.v1
            });
        }
    }

    /// Puts other workloads in the place of those for which `change` gives one, in living and ended processes.
    pub(crate) fn redress(&mut self, mut change: impl FnMut(&Arc<Workload>) -> Option<Arc<Workload>>) {
        self.epoch += 1;
        for entry in self.living.values_mut().chain(self.ended.values_mut()) {
            entry.redress(&mut change);
        }
    }

    /// Takes in where one process runs that has the root for a cgroup, and those of its descendants
    /// that have it from there.
    pub(crate) fn relocate_process(&mut self, identity: Identity, workload: &Arc<Workload>) {
        let Some(old) = self.living_as(identity).map(|entry| entry.now.process.workload.clone()) else {
            return;
        };
        self.epoch += 1;
        let mut todo = vec![identity.pid];
        let mut seen = HashSet::new();
        while let Some(pid) = todo.pop() {
            let Some(entry) = self.living.find_mut(pid) else { continue };
            if !seen.insert(pid) || !Arc::ptr_eq(&entry.now.process.workload, &old) {
                continue;
            }
            entry.relocate(workload, |other| Arc::ptr_eq(other, &old));
            todo.extend(self.children.get(&pid).into_iter().flatten());
        }
    }
}
