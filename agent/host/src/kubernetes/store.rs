//! What was told so far, so that only changes are told.

use super::objects::OwnerReference;
use hostward_event::Text;
use hostward_event::fact::Fact;
use hostward_event::workload::{ContainerFacts, PodFacts, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All pods together; 1,000 pods as they are take a tenth of it.
pub(super) const MAX_BYTES: usize = 64 << 20;
/// A text, with its place in a list or map.
const ENTRY_BYTES: usize = 96;
/// A pod or a container without its texts.
const OBJECT_BYTES: usize = 1_024;

/// A pod as told.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) facts: Arc<PodFacts>,
    pub(super) containers: BTreeMap<Text, Arc<ContainerFacts>>,
    /// Its controller.
    pub(super) reference: Option<OwnerReference>,
    /// False: there is more to be had by asking again.
    pub(super) is_firm: bool,
}

impl Known {
    /// Bytes of memory, about. Labels of the namespace are shared by its pods.
    pub(super) fn bytes(&self) -> usize {
        let texts = |map: &BTreeMap<Text, Text>| -> usize {
            map.iter().map(|(key, value)| ENTRY_BYTES + key.as_bytes().len() + value.as_bytes().len()).sum()
        };
        let container = |facts: &Arc<ContainerFacts>| -> usize {
            let lists = [&facts.command, &facts.capabilities, &facts.image.digests].into_iter().flatten();
            let mounts = facts.mounts.iter().flat_map(|mount| [&mount.source, &mount.destination]);
            let names = [&facts.name, &facts.image.reference, &facts.image.id, &facts.runtime, &facts.id];
            let all = lists.chain(mounts).chain(names);
            OBJECT_BYTES + all.map(|text| ENTRY_BYTES + text.as_bytes().len()).sum::<usize>()
        };
        let pod = texts(&self.facts.labels) + texts(&self.facts.annotations);
        OBJECT_BYTES + pod + self.containers.values().map(container).sum::<usize>()
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Store {
    /// By the API's uid, which is not the uid that is told where the pod is static.
    pods: BTreeMap<Text, Known>,
    /// The API's uid, by the uid that is told.
    told: BTreeMap<Text, Text>,
    /// Pods beyond the limit.
    refused: BTreeSet<Text>,
    max_pods: usize,
    containers: usize,
    bytes: usize,
}

impl Store {
    pub(super) const fn new(max_pods: usize) -> Self {
        Self {
            pods: BTreeMap::new(),
            told: BTreeMap::new(),
            refused: BTreeSet::new(),
            max_pods,
            containers: 0,
            bytes: 0,
        }
    }

    pub(super) fn pods(&self) -> usize {
        self.pods.len()
    }

    pub(super) const fn containers(&self) -> usize {
        self.containers
    }

    /// Pods that are not named because there are too many, as far as that is counted.
    pub(super) fn refused(&self) -> usize {
        self.refused.len()
    }

    /// False: another pod has this uid, or there is no room.
    pub(super) fn admits(&mut self, api_uid: &Text, known: &Known) -> bool {
        if self.told.get(&known.facts.uid).is_some_and(|owner| owner != api_uid) {
            return false;
        }
        let before = self.pods.get(api_uid);
        let pods = self.pods.len() + usize::from(before.is_none());
        let bytes = self.bytes - before.map_or(0, Known::bytes) + known.bytes();
        let has_room = pods <= self.max_pods && bytes <= MAX_BYTES;
        if !has_room && self.refused.len() < self.max_pods {
            self.refused.insert(api_uid.clone());
        }
        has_room
    }

    /// Takes a pod, and gives what is to be told of it.
    pub(super) fn put(&mut self, api_uid: Text, known: Known) -> Vec<Fact> {
        let mut facts = Vec::new();
        let uid = known.facts.uid.clone();
        if !self.admits(&api_uid, &known) {
            return facts;
        }
        self.refused.remove(&api_uid);
        let before = self.pods.remove(&api_uid);
        if let Some(before) = &before {
            self.containers -= before.containers.len();
            self.bytes -= before.bytes();
            if before.facts.uid != uid {
                // It became another in its cgroup: what it was is gone.
                self.told.remove(&before.facts.uid);
                facts.push(gone(&before.facts.uid));
            }
        }
        if before.as_ref().is_none_or(|before| before.facts != known.facts) {
            facts.push(Fact::Pod(Arc::clone(&known.facts)));
        }
        let old = before.map(|before| before.containers).unwrap_or_default();
        let ended = old.keys().filter(|id| !known.containers.contains_key(*id));
        facts.extend(ended.map(|id| Fact::ContainerGone { id: id.clone(), source: Source::KubernetesApi }));
        let changed = known.containers.iter().filter(|(id, container)| old.get(*id) != Some(container));
        facts.extend(changed.map(|(_, container)| Fact::Container(Arc::clone(container))));
        self.containers += known.containers.len();
        self.bytes += known.bytes();
        self.told.insert(uid, api_uid.clone());
        self.pods.insert(api_uid, known);
        facts
    }

    /// The pod is gone.
    pub(super) fn remove(&mut self, api_uid: &Text) -> Vec<Fact> {
        self.refused.remove(api_uid);
        let Some(known) = self.pods.remove(api_uid) else { return Vec::new() };
        self.told.remove(&known.facts.uid);
        self.containers -= known.containers.len();
        self.bytes -= known.bytes();
        let ended =
            known.containers.into_keys().map(|id| Fact::ContainerGone { id, source: Source::KubernetesApi });
        ended.chain([gone(&known.facts.uid)]).collect()
    }

    /// All pods but these are gone.
    pub(super) fn retain(&mut self, api_uids: &BTreeSet<Text>) -> Vec<Fact> {
        self.refused.clear();
        let lost: Vec<Text> = self.pods.keys().filter(|uid| !api_uids.contains(*uid)).cloned().collect();
        lost.iter().flat_map(|uid| self.remove(uid)).collect()
    }

    /// All, with the API's uid.
    pub(super) fn snapshot(&self) -> Vec<(Text, Known)> {
        self.pods.iter().map(|(uid, known)| (uid.clone(), known.clone())).collect()
    }
}

fn gone(uid: &Text) -> Fact {
    Fact::PodGone { uid: uid.clone(), source: Source::KubernetesApi }
}

#[cfg(test)]
mod tests;
