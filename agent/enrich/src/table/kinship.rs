//! Who created whom, kept right while parents end and facts come late.

use super::entry::{Entry, Link};
use super::{Standing, Table};
use crate::MAX_LINEAGE;
use crate::image::{Grade, Identity, Own, inherited};
use hostward_event::process::Process;
use std::collections::HashSet;
use std::sync::Arc;

impl Table {
    pub(super) fn register(&mut self, pid: u32, link: Option<Link>) {
        if let Some(link) = link {
            self.children.entry(link.pid()).or_default().insert(pid);
        }
    }

    pub(super) fn unregister(&mut self, pid: u32, link: Option<Link>) {
        let Some(parent) = link.map(Link::pid) else { return };
        if let Some(children) = self.children.get_mut(&parent) {
            children.remove(&pid);
            if children.is_empty() {
                self.children.remove(&parent);
            }
        }
    }

    /// Links a living process to its parent, by way of those ancestors that have ended.
    pub(super) fn relink(&mut self, pid: u32, parent: Option<Link>) {
        let (kin, link) = self.trace(parent);
        self.epoch += 1;
        let Some(entry) = self.living.find_mut(pid) else { return };
        entry.kin = kin;
        let old = std::mem::replace(&mut entry.link, link);
        self.unregister(pid, old);
        self.register(pid, link);
    }

    /// Follows a link over ended processes to one that lives or is not known yet.
    pub(super) fn trace(&self, mut link: Option<Link>) -> (Vec<Arc<Process>>, Option<Link>) {
        let mut kin = Vec::new();
        while let Some(Link::Exact(identity)) = link
            && self.living_as(identity).is_none()
            && let Some(ended) = self.ended.get(&identity)
        {
            kin.push(ended.now.process.clone());
            kin.extend(ended.kin.iter().cloned());
            link = ended.link;
            if kin.len() >= MAX_LINEAGE {
                link = None;
            }
        }
        kin.truncate(MAX_LINEAGE);
        (kin, link)
    }

    /// Lets the children of a process that leaves the table take its snapshot and its own ancestors
    /// over, so that their lineage stays whole.
    pub(super) fn hand_over(&mut self, parent: &Entry) {
        self.changed(parent.identity.pid);
        for pid in self.children.remove(&parent.identity.pid).unwrap_or_default() {
            let Some(child) = self.living.find_mut(pid) else { continue };
            if child.link.is_some_and(|link| link.leads_to(parent.identity)) {
                child.kin.push(parent.now.process.clone());
                child.kin.extend(parent.kin.iter().cloned());
                child.link = if child.kin.len() < MAX_LINEAGE { parent.link } else { None };
                child.kin.truncate(MAX_LINEAGE);
            }
            let link = child.link;
            self.register(pid, link);
        }
    }

    /// Gives the children of `pid` anew what they inherited, after something better was learnt of
    /// it; and so on downwards.
    pub(super) fn refresh_children(&mut self, pid: u32) {
        self.changed(pid);
        let mut todo = vec![pid];
        let mut seen = HashSet::new();
        while let Some(pid) = todo.pop() {
            if !seen.insert(pid) {
                continue;
            }
            let children: Vec<u32> = self.children.get(&pid).into_iter().flatten().copied().collect();
            for child in children {
                if self.refresh(child) {
                    todo.push(child);
                }
            }
        }
    }

    fn refresh(&mut self, pid: u32) -> bool {
        let Some(child) = self.living.find(pid).filter(|child| child.forked && child.kin.is_empty()) else {
            return false;
        };
        let Some(Link::Exact(identity)) = child.link else { return false };
        let Some(parent) = self.living_as(identity) else { return false };
        let source = parent.image_at(child.now.process.start_boot_ns).clone();
        let Some(child) = self.living.find_mut(pid) else { return false };
        let first = child.first_mut();
        if first.grade > Grade::Inherited {
            return false;
        }
        let process = inherited(&source.process, Own::of(&first.process));
        let grade = source.grade.min(Grade::Inherited);
        if first.process == process && first.grade == grade {
            return false;
        }
        first.process = process;
        first.grade = grade;
        child.apply_observed();
        true
    }

    /// Makes sure that the parent which a fork names is known, if by nothing but the child: at
    /// that moment both have the same name, ids and cgroup.
    pub(super) fn know_parent(
        &mut self,
        parent: Identity,
        start_boot_ns: u64,
        child_pid: u32,
        child: impl FnOnce() -> Process,
    ) {
        if parent.pid == 0 || parent.pid == child_pid {
            return;
        }
        let standing = self.standing(parent);
        if matches!(standing, Standing::Living | Standing::Ended) {
            return;
        }
        let mut process = child();
        process.entity_id = self.mint.entity(parent.pid, start_boot_ns);
        process.pid = parent.pid;
        process.ppid = 0;
        process.start_boot_ns = start_boot_ns;
        process.vpid = 0;
        process.ns.pid = 0;
        self.counts.inferred += 1;
        self.admit(Entry::new(parent, process, Grade::Inferred), standing);
    }
}
