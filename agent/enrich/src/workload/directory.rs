//! What runtimes and the Kubernetes API told of containers and pods, by id.
//!
//! A container may be told by several sources; the one that [`Source`] orders highest is believed, until
//! it says that the container is gone. A pod is told in parts, labels by a runtime and owners by the
//! API, so the parts are kept apart and merged. What is gone stays for [`TOMBSTONE_NS`]: records of
//! the slower ring come late, and so do the last words of a container that lived for 100 ms.

use crate::bounded::Bounded;
use hostward_event::Text;
use hostward_event::workload::{Container, ContainerFacts, PodFacts, Source, Workload};
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// How long what is gone is remembered, in event time.
pub(crate) const TOMBSTONE_NS: u64 = 60_000_000_000;

/// Runtimes that no source speaks for: what their cgroups tell is all.
const UNASKED: [&[u8]; 2] = [b"lxc", b"systemd-nspawn"];

#[derive(Debug)]
struct KnownContainer {
    facts: Arc<ContainerFacts>,
    gone: bool,
}

#[derive(Debug)]
struct KnownPod {
    /// By source, the most believed last; true: gone.
    parts: Vec<(Arc<PodFacts>, bool)>,
    merged: Arc<PodFacts>,
}

#[derive(Debug)]
enum Gone {
    Container(Text),
    Pod(Text, Source),
    Claim(Text),
}

/// Whose a cgroup is that may have any name.
#[derive(Debug)]
struct Claim {
    container: Text,
    runtime: Text,
    /// The container is gone, as its runtime's files say.
    ended: bool,
    /// The cgroup is gone, as an event said.
    removed: bool,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Directory {
    containers: Bounded<Text, KnownContainer>,
    pods: Bounded<Text, KnownPod>,
    /// Id and runtime of the container in a cgroup whose names do not tell it, by the cgroup's path.
    claims: Bounded<Text, Claim>,
    gone: VecDeque<(u64, Gone)>,
}

impl Directory {
    pub(crate) fn new(limit: NonZeroUsize) -> Self {
        Self {
            containers: Bounded::new(limit),
            pods: Bounded::new(limit),
            claims: Bounded::new(limit),
            gone: VecDeque::new(),
        }
    }

    pub(crate) fn containers(&self) -> usize {
        self.containers.len()
    }

    pub(crate) fn pods(&self) -> usize {
        self.pods.len()
    }

    /// Takes facts of a container in; true when something is new.
    pub(crate) fn learn_container(&mut self, facts: &Arc<ContainerFacts>) -> bool {
        if let Some(known) = self.containers.find_mut(facts.id.clone()) {
            if !known.gone && known.facts.source > facts.source {
                return false;
            }
            let changed = known.facts != *facts;
            (known.facts, known.gone) = (facts.clone(), false);
            return changed;
        }
        let known = KnownContainer { facts: facts.clone(), gone: false };
        drop(self.containers.insert(facts.id.clone(), known));
        true
    }

    /// Takes in whose cgroup this is, and all below it. The root is nobody's.
    pub(crate) fn claim(&mut self, path: &Text, container: &Text, runtime: &Text) {
        if path.as_bytes().len() <= 1 {
            return;
        }
        let (container, runtime) = (container.clone(), runtime.clone());
        drop(self.claims.insert(path.clone(), Claim { container, runtime, ended: false, removed: false }));
    }

    /// The cgroup with this path was removed. Events say so in their order, files of runtimes at any time: a claim ends
    /// when both did, as events of the container may come after its files are gone.
    pub(crate) fn cgroup_removed(&mut self, path: &Text) {
        match self.claims.find_mut(path.clone()) {
            Some(claim) if claim.ended => drop(self.claims.remove(path.clone())),
            Some(claim) => claim.removed = true,
            None => {}
        }
    }

    /// The container in whose cgroup, or below it, this path lies: the innermost.
    pub(crate) fn claimed(&self, path: &[u8]) -> Option<Container> {
        let mut rest = path;
        while self.claims.len() > 0 && !rest.is_empty() {
            if let Some(claim) = self.claims.find(Text::copy(rest)) {
                let (id, runtime) = (claim.container.clone(), claim.runtime.clone());
                return Some(Container { id, runtime, ..Container::default() });
            }
            rest = rest.get(..rest.iter().rposition(|byte| *byte == b'/')?)?;
        }
        None
    }

    /// Takes facts of a pod in; true when something is new.
    pub(crate) fn learn_pod(&mut self, facts: &Arc<PodFacts>) -> bool {
        let Some(known) = self.pods.find_mut(facts.uid.clone()) else {
            let known = KnownPod { parts: vec![(facts.clone(), false)], merged: facts.clone() };
            drop(self.pods.insert(facts.uid.clone(), known));
            return true;
        };
        match known.parts.iter_mut().find(|(part, _)| part.source == facts.source) {
            Some(part) => *part = (facts.clone(), false),
            None => {
                known.parts.push((facts.clone(), false));
                known.parts.sort_by_key(|(part, _)| part.source);
            }
        }
        known.merge()
    }

    /// Only who is believed can say so: the API forgets a pod while its containers still run.
    pub(crate) fn container_gone(&mut self, id: &Text, source: Source, now_ns: u64) {
        // What was in its cgroup is remembered with the cgroup; who makes one of this name now is another.
        if source == Source::Oci {
            let own = |(path, claim): (Text, &Claim)| (claim.container == *id).then_some(path);
            for path in self.claims.iter().filter_map(own).collect::<Vec<Text>>() {
                match self.claims.find_mut(path.clone()) {
                    Some(claim) if !claim.removed => {
                        claim.ended = true;
                        self.gone.push_back((now_ns.saturating_add(TOMBSTONE_NS), Gone::Claim(path)));
                    }
                    _ => drop(self.claims.remove(path)),
                }
            }
        }
        if let Some(known) = self.containers.find_mut(id.clone())
            && known.facts.source == source
        {
            known.gone = true;
            self.gone.push_back((now_ns.saturating_add(TOMBSTONE_NS), Gone::Container(id.clone())));
        }
    }

    pub(crate) fn pod_gone(&mut self, uid: &Text, source: Source, now_ns: u64) {
        let Some(known) = self.pods.find_mut(uid.clone()) else { return };
        if let Some((_, gone)) = known.parts.iter_mut().find(|(part, _)| part.source == source) {
            *gone = true;
            self.gone.push_back((now_ns.saturating_add(TOMBSTONE_NS), Gone::Pod(uid.clone(), source)));
        }
    }

    /// Lets event time pass: what is gone is forgotten when its time is up and it did not come back.
    pub(crate) fn advance(&mut self, now_ns: u64) {
        while self.gone.front().is_some_and(|(until_ns, _)| *until_ns <= now_ns) {
            match self.gone.pop_front() {
                Some((_, Gone::Container(id)))
                    if self.containers.find(id.clone()).is_some_and(|known| known.gone) =>
                {
                    self.containers.remove(id);
                }
                Some((_, Gone::Claim(path)))
                    if self.claims.find(path.clone()).is_some_and(|claim| claim.ended) =>
                {
                    drop(self.claims.remove(path));
                }
                Some((_, Gone::Pod(uid, source))) => self.forget_part(uid, source),
                _ => {}
            }
        }
    }

    fn forget_part(&mut self, uid: Text, source: Source) {
        let Some(known) = self.pods.find_mut(uid.clone()) else { return };
        known.parts.retain(|(part, gone)| !(*gone && part.source == source));
        if known.parts.is_empty() {
            self.pods.remove(uid);
        } else {
            known.merge();
        }
    }

    /// Puts what is known into a container. True when that changed it.
    pub(crate) fn dress(&self, container: &mut Container) -> bool {
        let mut changed = false;
        if let Some(known) = self.containers.find(container.id.clone())
            && container.facts.as_ref() != Some(&known.facts)
        {
            let facts = known.facts.clone();
            if container.pod_uid.is_empty() {
                container.pod_uid = facts.pod_uid.clone();
            }
            if container.runtime.is_empty() {
                container.runtime = facts.runtime.clone();
            }
            container.facts = Some(facts);
            changed = true;
        }
        if !container.pod_uid.is_empty()
            && let Some(known) = self.pods.find(container.pod_uid.clone())
            && container.pod.as_ref() != Some(&known.merged)
        {
            container.pod = Some(known.merged.clone());
            changed = true;
        }
        changed
    }
}

impl KnownPod {
    /// True when the merged facts changed. Of two parts that tell something, the most believed counts.
    fn merge(&mut self) -> bool {
        let mut parts = self.parts.iter().map(|(part, _)| part);
        let Some(first) = parts.next() else { return false };
        let mut whole = PodFacts::clone(first);
        for part in parts {
            let texts = [
                (&mut whole.name, &part.name),
                (&mut whole.namespace, &part.namespace),
                (&mut whole.node, &part.node),
                (&mut whole.service_account, &part.service_account),
                (&mut whole.cluster_name, &part.cluster_name),
                (&mut whole.cluster_id, &part.cluster_id),
            ];
            for (old, new) in texts.into_iter().filter(|(_, new)| !new.is_empty()) {
                *old = new.clone();
            }
            let maps = [
                (&mut whole.labels, &part.labels),
                (&mut whole.annotations, &part.annotations),
                (&mut whole.namespace_labels, &part.namespace_labels),
            ];
            for (old, new) in maps.into_iter().filter(|(_, new)| !new.is_empty()) {
                old.clone_from(new);
            }
            if !part.owners.is_empty() {
                whole.owners.clone_from(&part.owners);
            }
            whole.source = part.source;
        }
        let changed = *self.merged != whole;
        if changed {
            self.merged = Arc::new(whole);
        }
        changed
    }
}

/// True when all that is waited for is there.
pub(crate) fn is_complete(container: &Container) -> bool {
    let asked = !UNASKED.contains(&container.runtime.as_bytes());
    !asked || (container.facts.is_some() && (container.pod_uid.is_empty() || container.pod.is_some()))
}

/// Puts new facts into workloads that are shared by many: each is made anew once.
pub(crate) struct Redress<'a, F> {
    directory: &'a Directory,
    fits: F,
    /// Old and new; the old ones are held, so that no address comes twice.
    done: Vec<(Arc<Workload>, Arc<Workload>)>,
}

impl<'a, F: Fn(&Container) -> bool> Redress<'a, F> {
    /// For the containers that `fits` says.
    pub(crate) const fn new(directory: &'a Directory, fits: F) -> Self {
        Self { directory, fits, done: Vec::new() }
    }

    /// True when nothing had to change so far.
    pub(crate) const fn is_idle(&self) -> bool {
        self.done.is_empty()
    }

    /// The workload as it is to be now; none when it stays.
    pub(crate) fn of(&mut self, old: &Arc<Workload>) -> Option<Arc<Workload>> {
        old.container.as_ref().filter(|container| (self.fits)(container))?;
        if let Some((_, new)) = self.done.iter().find(|(known, _)| Arc::ptr_eq(known, old)) {
            return Some(new.clone());
        }
        let mut new = Workload::clone(old);
        if !new.container.as_mut().is_some_and(|container| self.directory.dress(container)) {
            return None;
        }
        let new = Arc::new(new);
        self.done.push((old.clone(), new.clone()));
        Some(new)
    }
}
