//! The table of cgroups: each is read once and shared by all that runs in it.

mod directory;
mod names;

pub(crate) use directory::{Directory, Redress, is_complete};

use crate::bounded::Bounded;
use directory::TOMBSTONE_NS;
use hostward_event::Text;
use hostward_event::raw::RawCgroup;
use hostward_event::workload::{Container, Workload};
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// How often the path of a cgroup is asked for: the first process in it may be gone too soon.
const MAX_ASKS: u8 = 4;
/// How long an answer is waited for before another process is asked about, in event time.
const ASK_AGAIN_NS: u64 = 1_000_000_000;

/// Ids are unique within one hierarchy only: v1 or unified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    v1: bool,
    id: u64,
}

#[derive(Debug)]
struct Known {
    workload: Arc<Workload>,
    /// The names settled it, or the path came.
    settled: bool,
    asks: u8,
    asked_ns: u64,
}

/// Where a process runs, and whether the host should be asked for more.
#[derive(Debug)]
pub(crate) struct Place {
    pub workload: Arc<Workload>,
    pub ask: bool,
}

#[derive(Debug)]
pub(crate) struct Workloads {
    known: Bounded<Key, Known>,
    root: Arc<Workload>,
    evicted: u64,
    /// Removed cgroups, and until when they are remembered.
    gone: VecDeque<(u64, Key)>,
    /// What is known of their containers.
    pub(crate) directory: Directory,
}

/// True for the root, which says nothing: every hierarchy's root has id 1.
pub(crate) const fn is_root(cgroup_id: u64) -> bool {
    cgroup_id <= 1
}

impl Workloads {
    pub(crate) fn new(limit: NonZeroUsize, max_containers: NonZeroUsize) -> Self {
        let cgroup = RawCgroup { id: 1, ..RawCgroup::default() };
        let root = Arc::new(Workload { cgroup, ..Workload::default() });
        Self {
            known: Bounded::new(limit),
            root,
            evicted: 0,
            gone: VecDeque::new(),
            directory: Directory::new(max_containers),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    pub(crate) const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The place of a process in `cgroup`, as an exec or a seed tells it.
    pub(crate) fn place(&mut self, cgroup: &RawCgroup, now_ns: u64) -> Place {
        if is_root(cgroup.id) {
            return Place { workload: self.root.clone(), ask: false };
        }
        let key = Key { v1: cgroup.v1, id: cgroup.id };
        let told = !cgroup.leaf.is_empty();
        let described = match self.known.find(key).map(|known| &known.workload) {
            None => Some(describe(cgroup, b"")),
            // One met through a bare id gets its names now. A v1 cgroup may be renamed; then the
            // path is of the past.
            Some(old) if told && (old.cgroup.leaf != cgroup.leaf || old.cgroup.parent != cgroup.parent) => {
                let renamed = leaf(&old.path) != Some(cgroup.leaf.as_bytes());
                Some(describe(cgroup, if renamed { b"" } else { old.path.as_bytes() }))
            }
            Some(_) => None,
        };
        if let Some(described) = described {
            self.keep(key, described);
        }
        self.ask(key, now_ns)
    }

    /// The place of a process of which only the cgroup's id is known.
    pub(crate) fn place_by_id(&mut self, cgroup_id: u64, now_ns: u64) -> Place {
        if is_root(cgroup_id) {
            return Place { workload: self.root.clone(), ask: false };
        }
        // The record does not tell the hierarchy. The unified one is the likelier, unless nothing but
        // such records told of it: on v1 alone they come first, and an exec then names the cgroup.
        let v1 = Key { v1: true, id: cgroup_id };
        let unified = Key { v1: false, id: cgroup_id };
        let bare = |known: &Known| known.workload.cgroup.leaf.is_empty() && known.workload.path.is_empty();
        if self.known.find(unified).is_none_or(bare) && self.known.find(v1).is_some() {
            return self.ask(v1, now_ns);
        }
        self.place(&RawCgroup { id: cgroup_id, ..RawCgroup::default() }, now_ns)
    }

    /// What is known of a cgroup now.
    pub(crate) fn now(&mut self, cgroup: &RawCgroup) -> Option<Arc<Workload>> {
        self.known.find(Key { v1: cgroup.v1, id: cgroup.id }).map(|known| known.workload.clone())
    }

    /// Takes the path of a cgroup; gives the workloads that follow from it, one per hierarchy.
    pub(crate) fn learn(&mut self, cgroup_id: u64, path: &Text) -> Vec<Arc<Workload>> {
        let mut changed = Vec::new();
        for v1 in [false, true] {
            let key = Key { v1, id: cgroup_id };
            let Some(known) = self.known.find_mut(key) else { continue };
            known.settled = true;
            if known.workload.path != *path {
                let (mut workload, _) = describe(&known.workload.cgroup, path.as_bytes());
                dress(&self.directory, &mut workload);
                known.workload = Arc::new(workload);
                changed.push(known.workload.clone());
            }
        }
        changed
    }

    /// Takes in that a cgroup and all below it is a container's; gives the workloads that follow from it.
    pub(crate) fn claim(
        &mut self,
        cgroup_id: u64,
        path: &Text,
        container: &Text,
        runtime: &Text,
    ) -> Vec<Arc<Workload>> {
        self.directory.claim(path, container, runtime);
        if !is_root(cgroup_id)
            && [false, true].into_iter().all(|v1| self.known.find(Key { v1, id: cgroup_id }).is_none())
        {
            // Its first program may be told by the names of leaf and parent alone.
            self.made(cgroup_id, false, path);
        }
        let mut changed = if is_root(cgroup_id) { Vec::new() } else { self.learn(cgroup_id, path) };
        for known in self.known.values_mut().filter(|known| known.workload.container.is_none()) {
            if is_below(known.workload.path.as_bytes(), path.as_bytes()) {
                let mut workload = Workload::clone(&known.workload);
                dress(&self.directory, &mut workload);
                known.workload = Arc::new(workload);
                changed.push(known.workload.clone());
            }
        }
        changed
    }

    /// The workload of one process in the root, whose v1 path is known.
    pub(crate) fn in_root(&self, cgroup: &RawCgroup, path: &Text) -> Arc<Workload> {
        if path.is_empty() {
            return self.root.clone();
        }
        let (mut workload, _) = describe(cgroup, path.as_bytes());
        dress(&self.directory, &mut workload);
        Arc::new(workload)
    }

    /// The cgroup was made, and nothing is in it yet. From now on its whole path is known.
    pub(crate) fn made(&mut self, cgroup_id: u64, v1: bool, path: &Text) {
        let parts = components(path.as_bytes());
        let mut names = parts.iter().rev().map(|name| Text::copy(name));
        let (leaf, parent) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
        let cgroup = RawCgroup { id: cgroup_id, v1, leaf, parent };
        self.keep(Key { v1, id: cgroup_id }, describe(&cgroup, path.as_bytes()));
    }

    /// The cgroup was removed: what runs in it has ended, and late records of it are still to come.
    pub(crate) fn gone(&mut self, cgroup_id: u64, v1: bool, now_ns: u64) {
        self.gone.push_back((now_ns.saturating_add(TOMBSTONE_NS), Key { v1, id: cgroup_id }));
        if let Some(known) = self.known.find(Key { v1, id: cgroup_id }) {
            self.directory.cgroup_removed(&known.workload.path);
        }
    }

    /// Lets event time pass.
    pub(crate) fn advance(&mut self, now_ns: u64) {
        while self.gone.front().is_some_and(|(until_ns, _)| *until_ns <= now_ns) {
            if let Some((_, key)) = self.gone.pop_front() {
                self.known.remove(key);
            }
        }
        self.directory.advance(now_ns);
    }

    /// Puts new facts into the cgroups whose container fits.
    pub(crate) fn redress<F: Fn(&Container) -> bool>(&mut self, fits: F) -> Redress<'_, F> {
        let mut redress = Redress::new(&self.directory, fits);
        for known in self.known.values_mut() {
            if let Some(workload) = redress.of(&known.workload) {
                known.workload = workload;
            }
        }
        redress
    }

    fn keep(&mut self, key: Key, (mut workload, settled): (Workload, bool)) {
        dress(&self.directory, &mut workload);
        let (asks, asked_ns) = self.known.find(key).map_or((0, 0), |known| (known.asks, known.asked_ns));
        let known = Known { workload: Arc::new(workload), settled, asks, asked_ns };
        self.evicted += u64::from(self.known.insert(key, known).is_some());
    }

    fn ask(&mut self, key: Key, now_ns: u64) -> Place {
        let Some(known) = self.known.find_mut(key) else {
            return Place { workload: self.root.clone(), ask: false };
        };
        let due = known.asks == 0 || now_ns >= known.asked_ns.saturating_add(ASK_AGAIN_NS);
        let ask = !known.settled && known.asks < MAX_ASKS && due;
        if ask {
            known.asks += 1;
            known.asked_ns = now_ns;
        }
        Place { workload: known.workload.clone(), ask }
    }
}

fn is_below(path: &[u8], above: &[u8]) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// The container by its cgroup, where the names tell none, and what is known of it.
fn dress(directory: &Directory, workload: &mut Workload) {
    if workload.container.is_none() {
        workload.container = directory.claimed(workload.path.as_bytes());
    }
    if let Some(container) = &mut workload.container {
        directory.dress(container);
    }
}

fn components(path: &[u8]) -> Vec<&[u8]> {
    path.split(|b| *b == b'/').filter(|part| !part.is_empty()).collect()
}

fn leaf(path: &Text) -> Option<&[u8]> {
    components(path.as_bytes()).last().copied()
}

/// Reads a cgroup by its path, else by the names of leaf and parent; true when that settles it.
/// Texts are copied, as a slice of a record would keep all the record's arguments alive.
fn describe(cgroup: &RawCgroup, path: &[u8]) -> (Workload, bool) {
    let from_root = !path.is_empty();
    let parts = if from_root {
        components(path)
    } else {
        [&cgroup.parent, &cgroup.leaf]
            .into_iter()
            .map(Text::as_bytes)
            .filter(|name| !name.is_empty())
            .collect()
    };
    let names = names::read(&parts, from_root);
    let settled = from_root || names.certain;
    let container = names.container.map(|found| Container {
        id: Text::copy(found.id),
        runtime: Text::from_static(found.runtime),
        pod_uid: Text::from(found.pod_uid),
        ..Container::default()
    });
    let workload = Workload {
        cgroup: RawCgroup {
            id: cgroup.id,
            v1: cgroup.v1,
            leaf: Text::copy(cgroup.leaf.as_bytes()),
            parent: Text::copy(cgroup.parent.as_bytes()),
        },
        path: Text::copy(path),
        container,
        unit: Text::copy(names.unit),
        slice: Text::copy(names.slice),
    };
    (workload, settled)
}
