//! One process of the table.

use super::Lineage;
use crate::image::{Grade, Identity, Image, Observed};
use hostward_event::process::Process;
use hostward_event::workload::Workload;
use std::cell::RefCell;
use std::sync::Arc;

/// How many former images are kept. Two cover a wrapper that execs a wrapper; a third exec within
/// the lag of the bulk ring would make its late opens appear as of a later program.
const MAX_PAST: usize = 2;

/// The nearest ancestor that may still live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// As a fork told it.
    Exact(Identity),
    /// As a seed or record told it: it began no later than its child.
    Pid { pid: u32, until_start: u64 },
}

impl Link {
    pub(crate) const fn pid(self) -> u32 {
        match self {
            Self::Exact(identity) => identity.pid,
            Self::Pid { pid, .. } => pid,
        }
    }

    /// The parent by its pid alone; none for what the kernel itself started.
    pub(crate) const fn by_pid(ppid: u32, child: Identity) -> Option<Self> {
        if ppid == 0 || ppid == child.pid {
            return None;
        }
        Some(Self::Pid { pid: ppid, until_start: child.start })
    }

    pub(crate) fn leads_to(self, identity: Identity) -> bool {
        match self {
            Self::Exact(target) => target == identity,
            Self::Pid { pid, until_start } => pid == identity.pid && identity.start <= until_start,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub identity: Identity,
    pub now: Image,
    /// Former images, oldest first.
    pub past: Vec<Image>,
    /// What was seen to differ from the image since.
    pub observed: Option<Observed>,
    /// The fork was seen: the parent is the creator.
    pub forked: bool,
    /// Ancestors that have ended, nearest first, up to the one that `link` leads to.
    pub kin: Vec<Arc<Process>>,
    pub link: Option<Link>,
    /// The process and its ancestors, and the table's epoch in which they were found.
    line: RefCell<Option<(u64, Lineage)>>,
}

impl Entry {
    pub(crate) fn new(identity: Identity, process: impl Into<Arc<Process>>, grade: Grade) -> Self {
        let process = process.into();
        let link = Link::by_pid(process.ppid, identity);
        let now = Image { process, since_ns: 0, grade };
        let (past, kin, line) = (Vec::new(), Vec::new(), RefCell::default());
        Self { identity, now, past, observed: None, forked: false, kin, link, line }
    }

    /// The process and its ancestors, if that is still right: of itself it may have become another image since.
    pub(crate) fn kept_line(&self, epoch: u64) -> Option<Lineage> {
        let line = self.line.borrow();
        let (kept_in, line) = line.as_ref()?;
        let is_own = line.first().is_some_and(|own| Arc::ptr_eq(own, &self.now.process));
        (*kept_in == epoch && is_own).then(|| line.clone())
    }

    pub(crate) fn keep_line(&self, epoch: u64, line: Lineage) {
        self.line.replace(Some((epoch, line)));
    }

    pub(crate) fn forget_line(&self) {
        self.line.replace(None);
    }

    /// What the process was at that time, or the oldest that is known of it.
    pub(crate) fn image_at(&self, at_ns: u64) -> &Image {
        if at_ns >= self.now.since_ns {
            return &self.now;
        }
        let then = self.past.iter().rev().find(|image| image.since_ns <= at_ns);
        then.or(self.past.first()).unwrap_or(&self.now)
    }

    /// The oldest image that is known.
    pub(crate) fn first_mut(&mut self) -> &mut Image {
        self.past.first_mut().unwrap_or(&mut self.now)
    }

    /// The process became another program.
    pub(crate) fn succeed(&mut self, process: Process, at_ns: u64) {
        let image = Image { process: Arc::new(process), since_ns: at_ns, grade: Grade::Executed };
        if at_ns < self.now.since_ns {
            return;
        }
        self.past.push(std::mem::replace(&mut self.now, image));
        if self.past.len() > MAX_PAST {
            self.past.remove(0);
        }
        // An open of the other ring may have been read before this exec, and be later than it.
        self.observed = self.observed.take().filter(|seen| seen.at_ns > at_ns);
        self.apply_observed();
    }

    /// Takes in what a record of `observed.at_ns` says, unless something later said it already. True when the
    /// process is not what it was.
    pub(crate) fn observe(&mut self, observed: Observed) -> bool {
        let latest = self.observed.as_ref().map_or(0, |seen| seen.at_ns).max(self.now.since_ns);
        let is_news = observed.at_ns >= latest && observed.differs(&self.now.process);
        if is_news {
            let observed = observed.detached();
            observed.apply(Arc::make_mut(&mut self.now.process));
            self.observed = Some(observed);
        }
        is_news
    }

    pub(crate) fn apply_observed(&mut self) {
        if let Some(seen) = self.observed.as_ref().filter(|seen| seen.differs(&self.now.process)) {
            seen.apply(Arc::make_mut(&mut self.now.process));
        }
    }

    pub(crate) fn relocate(&mut self, workload: &Arc<Workload>, of: impl Fn(&Arc<Workload>) -> bool) {
        self.redress(&mut |old| of(old).then(|| workload.clone()));
    }

    /// Puts other workloads in the place of those for which `change` gives one.
    pub(crate) fn redress(&mut self, change: &mut impl FnMut(&Arc<Workload>) -> Option<Arc<Workload>>) {
        for image in self.past.iter_mut().chain([&mut self.now]) {
            if let Some(workload) = change(&image.process.workload) {
                Arc::make_mut(&mut image.process).workload = workload;
            }
        }
        if let Some(seen) = self.observed.as_mut()
            && let Some(workload) = change(&seen.workload)
        {
            seen.workload = workload;
        }
    }
}
