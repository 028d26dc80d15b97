//! What each kind of record, and a seed, does to the table.
//!
//! A record of a process that has ended or was forgotten is answered as well as can be and changes
//! nothing: the table is never set back by what comes late.

use super::entry::{Entry, Link};
use super::{Standing, Table, Who};
use crate::image::{Birth, Grade, Identity, Observed, Own, born, executed, inferred, inherited, told};
use hostward_event::fact::SeedProcess;
use hostward_event::raw::{RawExec, RawTask};
use hostward_event::workload::Workload;
use std::sync::Arc;

impl Table {
    /// A process that nothing but this record tells.
    fn infer(&mut self, task: &RawTask, workload: Arc<Workload>, at_ns: u64) -> Entry {
        let entity_id = self.mint.entity(task.pid, task.start_boot_ns);
        let observed = Observed::of(task, workload.clone(), at_ns).detached();
        let mut entry =
            Entry::new(Identity::of(&self.mint, task), inferred(entity_id, task, workload), Grade::Inferred);
        entry.observed = Some(observed);
        entry
    }

    /// Takes in a process that is not in the table. One that is older than the living process of
    /// its pid has ended, and is remembered as such.
    pub(super) fn admit(&mut self, entry: Entry, standing: Standing) {
        if standing == Standing::Forgotten {
            self.end(entry);
            return;
        }
        if entry.now.grade == Grade::Inferred {
            // Nobody else may ever tell it.
            self.unknown.push((entry.identity.pid, entry.now.process.start_boot_ns));
        }
        self.insert(entry);
    }

    fn living_or_ended(&self, identity: Identity) -> Option<&Entry> {
        self.living_as(identity).or_else(|| self.ended.get(&identity))
    }

    /// The process of a record, which is known by now.
    fn answer(&mut self, task: &RawTask, workload: Arc<Workload>, at_ns: u64) -> Who {
        match self.living_or_ended(Identity::of(&self.mint, task)) {
            Some(entry) => self.who(entry, at_ns),
            // Ended, and the bound of the ended is that tight.
            None => {
                let entry = self.infer(task, workload, at_ns);
                self.who(&entry, at_ns)
            }
        }
    }

    /// A process did something that leaves it what it is.
    pub(crate) fn act(&mut self, task: &RawTask, workload: Arc<Workload>, at_ns: u64) -> Who {
        match self.standing(Identity::of(&self.mint, task)) {
            standing @ (Standing::New | Standing::Forgotten) => {
                let entry = self.infer(task, workload.clone(), at_ns);
                self.counts.inferred += 1;
                self.admit(entry, standing);
            }
            Standing::Living => {
                let observed = Observed::of(task, workload.clone(), at_ns);
                if self.living.find_mut(task.pid).is_some_and(|entry| entry.observe(observed)) {
                    self.changed(task.pid);
                }
            }
            Standing::Ended => {}
        }
        self.answer(task, workload, at_ns)
    }

    /// A process to which something happened that it did earlier: what the record says of it is of that time, so it
    /// teaches nothing new of a process that is known.
    pub(crate) fn recall(&mut self, task: &RawTask, workload: Arc<Workload>, at_ns: u64) -> Who {
        match self.standing(Identity::of(&self.mint, task)) {
            Standing::New | Standing::Forgotten => self.act(task, workload, at_ns),
            Standing::Living | Standing::Ended => self.answer(task, workload, at_ns),
        }
    }

    /// A process was created.
    pub(crate) fn fork(
        &mut self,
        task: &RawTask,
        parent_start_boot_ns: u64,
        birth: Birth,
        workload: Arc<Workload>,
        at_ns: u64,
    ) -> Who {
        let identity = Identity::of(&self.mint, task);
        let entity_id = self.mint.entity(task.pid, task.start_boot_ns);
        let alone = || born(entity_id, task, birth, workload.clone());
        let parent = Identity::new(&self.mint, task.ppid, parent_start_boot_ns);
        self.know_parent(parent, parent_start_boot_ns, task.pid, alone);
        let link = (task.ppid != 0).then_some(Link::Exact(parent));
        let (process, grade) = match self.living_or_ended(parent).map(|p| p.image_at(task.start_boot_ns)) {
            Some(image) => {
                let own = Own::told(entity_id, task, birth, &workload);
                (inherited(&image.process, own), image.grade.min(Grade::Inherited))
            }
            None => (Arc::new(alone()), Grade::Inferred),
        };

        match self.standing(identity) {
            standing @ (Standing::New | Standing::Forgotten) => {
                let mut entry = Entry::new(identity, process, grade);
                entry.forked = true;
                (entry.kin, entry.link) = self.trace(link);
                self.admit(entry, standing);
            }
            Standing::Living => {
                self.relink_late(identity, link);
                let Some(entry) = self.living.find_mut(task.pid) else {
                    return self.answer(task, workload, at_ns);
                };
                let first_time = !std::mem::replace(&mut entry.forked, true);
                let first = entry.first_mut();
                if first_time && first.grade == Grade::Inferred {
                    first.process = process;
                    first.grade = grade;
                    entry.apply_observed();
                }
                for image in entry.past.iter_mut().chain([&mut entry.now]) {
                    let known = Arc::make_mut(&mut image.process);
                    known.ppid = task.ppid;
                    known.start_boot_ns = task.start_boot_ns;
                }
                self.refresh_children(task.pid);
            }
            Standing::Ended => {}
        }
        self.answer(task, workload, at_ns)
    }

    /// The fork of a process that is known already tells its creator at last.
    fn relink_late(&mut self, identity: Identity, link: Option<Link>) {
        if self.living_as(identity).is_some_and(|entry| !entry.forked) {
            self.relink(identity.pid, link);
        }
    }

    /// A process became another program.
    pub(crate) fn exec(
        &mut self,
        task: &RawTask,
        exec: &RawExec,
        workload: Arc<Workload>,
        at_ns: u64,
    ) -> Who {
        let identity = Identity::of(&self.mint, task);
        let standing = self.standing(identity);
        let entity_id = self.mint.entity(task.pid, task.start_boot_ns);
        // The record has the parent of now; the creator is what the table has.
        let known = self.living_or_ended(identity);
        let ppid = known.map_or(task.ppid, |entry| entry.now.process.ppid);
        let process = executed(entity_id, ppid, task, exec, &self.environment, workload.clone());
        match standing {
            Standing::Living => {
                if let Some(entry) = self.living.find_mut(task.pid) {
                    entry.succeed(process, at_ns);
                }
                self.changed(task.pid);
            }
            Standing::Ended => {
                if let Some(entry) = self.ended.get_mut(&identity) {
                    entry.succeed(process, at_ns);
                }
            }
            standing @ (Standing::New | Standing::Forgotten) => {
                self.admit(Entry::new(identity, process, Grade::Executed), standing);
            }
        }
        self.answer(task, workload, at_ns)
    }

    /// A process ended.
    pub(crate) fn exit(&mut self, task: &RawTask, workload: Arc<Workload>, at_ns: u64) -> Who {
        let standing = self.standing(Identity::of(&self.mint, task));
        if matches!(standing, Standing::New | Standing::Forgotten) {
            let entry = self.infer(task, workload.clone(), at_ns);
            self.counts.inferred += 1;
            self.end(entry);
        }
        let who = self.answer(task, workload, at_ns);
        if standing == Standing::Living {
            self.bury(task.pid);
        }
        who
    }

    /// A process lived when it was read.
    pub(crate) fn seed(&mut self, seed: &SeedProcess, workload: Arc<Workload>) {
        let identity = Identity::new(&self.mint, seed.pid, seed.start_boot_ns);
        let mut process = told(self.mint.entity(seed.pid, seed.start_boot_ns), seed, workload);
        match self.standing(identity) {
            Standing::New => self.insert(Entry::new(identity, process, Grade::Told)),
            Standing::Living => {
                let Some(entry) = self.living.find_mut(seed.pid) else { return };
                let (forked, handed_over) = (entry.forked, !entry.kin.is_empty());
                // The kernel's start is the finer one.
                process.start_boot_ns = process.start_boot_ns.max(entry.now.process.start_boot_ns);
                if forked || handed_over {
                    process.ppid = entry.now.process.ppid;
                }
                let ppid = process.ppid;
                // With an exec known, the seed is of before it, or was read after it and tells
                // less of the same. The first seed is the one nearest to the records that follow.
                let now = &entry.now;
                let of_now = now.grade == Grade::Executed
                    && now.process.path == process.path
                    && (process.args.raw.is_empty() || now.process.args == process.args);
                let image = entry.first_mut();
                if image.grade < Grade::Told && !of_now {
                    image.process = Arc::new(process);
                    image.grade = Grade::Told;
                }
                entry.apply_observed();
                if !forked && !handed_over {
                    self.relink(seed.pid, Link::by_pid(ppid, identity));
                }
                self.refresh_children(seed.pid);
            }
            Standing::Ended | Standing::Forgotten => {}
        }
    }
}
