//! Containers in cgroups of any name: a process of another pid namespace waits until it is known whether there is one.
//!
//! Runtimes that no socket tells of (runc by itself) may call a container's cgroup as they like, so its name proves
//! nothing; what tells is the runtime's state on disk, which may be read a moment after the first program ran. The
//! events of such a cgroup wait in a queue of their own, under the name of its directory with a mark before it that no
//! container's id has.

use crate::owners::ASK_AGAIN_NS;
use crate::workload::is_root;
use crate::{Enricher, Output};
use hostward_event::Text;
use hostward_event::fact::Lookup;
use hostward_event::process::Process;
use hostward_event::workload::Workload;
use std::sync::Arc;

const MARK: u8 = b'?';
/// How often programs that start in one cgroup ask, until nobody is believed to claim it.
const MAX_ASKS: u8 = 3;

/// The queue of cgroups of this name.
pub(crate) fn claim(leaf: &Text) -> Text {
    Text::from([&[MARK], leaf.as_bytes()].concat())
}

/// True for a queue of [`claim`].
pub(crate) fn is_claim(id: &Text) -> bool {
    id.as_bytes().first() == Some(&MARK)
}

/// A directory that systemd made for something else than a container.
fn is_units(leaf: &[u8]) -> bool {
    const UNITS: [&[u8]; 6] = [b".service", b".slice", b".socket", b".mount", b".swap", b".timer"];
    UNITS.iter().any(|end| leaf.ends_with(end)) || leaf.starts_with(b"session-") || leaf == b"init.scope"
}

impl Enricher {
    /// The queue in which events of `process`, which is in no known container, have to wait; asks what it waits for.
    pub(crate) fn claim_to_wait_for(
        &mut self,
        process: &Process,
        starts: bool,
        at_ns: u64,
        out: &mut Vec<Output>,
    ) -> Option<Text> {
        let cgroup = &process.workload.cgroup;
        let apart = process.vpid != 0 && process.vpid != process.pid;
        let leaf = &cgroup.leaf;
        if !apart || is_root(cgroup.id) || leaf.is_empty() || is_units(leaf.as_bytes()) {
            return None;
        }
        if !self.owners.waits || !self.owners.askable {
            return None;
        }
        // What a runtime sets up comes before its state, the container's own program after it.
        let most = if starts { MAX_ASKS } else { 1 };
        let asked = self.owners.unclaimed.find(cgroup.id);
        if asked
            .is_some_and(|(asked_ns, times)| *times >= most && at_ns < asked_ns.saturating_add(ASK_AGAIN_NS))
        {
            return None;
        }
        let id = claim(leaf);
        if !self.owners.hold.waits_for(&id) {
            self.ask(Lookup::Claim { leaf: leaf.clone() }, out);
        }
        Some(id)
    }

    /// Sends out what waited for a claim: what is in a container now waits for that, if it has to.
    pub(crate) fn release_claim(&mut self, id: &Text, out: &mut Vec<Output>) {
        let now_ns = self.now_ns();
        let (mut none, mut events) = (Vec::new(), Vec::new());
        for event in self.owners.hold.take(id) {
            let mut event = Arc::unwrap_or_clone(event);
            if let Some(process) = &mut event.process {
                let cgroup = process.workload.cgroup.clone();
                match self.workloads.now(&cgroup) {
                    Some(workload) if workload.container.is_some() => {
                        Arc::make_mut(process).workload = workload;
                    }
                    _ => none.push(cgroup.id),
                }
            }
            events.push(event);
        }
        none.sort_unstable();
        none.dedup();
        for cgroup_id in none {
            let before = self.owners.unclaimed.find(cgroup_id).map_or(0, |(_, times)| *times);
            let _ = self.owners.unclaimed.insert(cgroup_id, (now_ns, before.saturating_add(1)));
        }
        for event in events {
            let contained =
                event.process.as_ref().is_some_and(|process| process.workload.container.is_some());
            if contained { self.deliver(event, now_ns, out) } else { self.pass(event, out) }
        }
    }

    /// A cgroup is a container's: whoever waited for that goes on.
    pub(crate) fn claimed(&mut self, workload: &Workload, out: &mut Vec<Output>) {
        let id = claim(&workload.cgroup.leaf);
        if self.owners.hold.waits_for(&id) {
            self.release_claim(&id, out);
        }
    }
}
