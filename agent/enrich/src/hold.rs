//! Events that wait until their container is known, each for a bounded time.
//!
//! A queue per container keeps the order of what happened in it, and so of each of its processes. A
//! process that leaves its container while events of it wait is kept behind them.

use hostward_event::{EntityId, Event, Text};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Hold {
    /// By container id; ordered, so that a replay releases in the same order.
    queues: BTreeMap<Text, Vec<Arc<Event>>>,
    /// When each queue is given up, oldest first. A queue that is gone leaves its entry behind.
    deadlines: VecDeque<(u64, Text)>,
    /// Whose events wait, and in which queue.
    processes: HashMap<EntityId, Text>,
    held: usize,
    limit: usize,
    wait_ns: u64,
}

impl Hold {
    pub(crate) fn new(limit: usize, wait_ms: u32) -> Self {
        Self {
            queues: BTreeMap::new(),
            deadlines: VecDeque::new(),
            processes: HashMap::new(),
            held: 0,
            limit,
            wait_ns: u64::from(wait_ms) * 1_000_000,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.held
    }

    /// The container behind whose events those of this process wait.
    pub(crate) fn queue_of(&self, process: EntityId) -> Option<&Text> {
        self.processes.get(&process)
    }

    /// Puts an event behind those of its container. Gives the container whose events have to go out for it, if
    /// the bound is reached: the one that waits longest.
    pub(crate) fn push(&mut self, id: &Text, event: Arc<Event>, now_ns: u64) -> Option<Text> {
        if let Some(process) = &event.process {
            self.processes.insert(process.entity_id, id.clone());
        }
        if !self.queues.contains_key(id) {
            self.deadlines.push_back((now_ns.saturating_add(self.wait_ns), id.clone()));
        }
        self.queues.entry(id.clone()).or_default().push(event);
        self.held += 1;
        (self.held > self.limit).then(|| self.oldest()).flatten()
    }

    /// A container that has waited long enough.
    pub(crate) fn due(&mut self, now_ns: u64) -> Option<Text> {
        let (deadline_ns, _) = self.deadlines.front()?;
        if *deadline_ns > now_ns { None } else { self.oldest() }
    }

    fn oldest(&mut self) -> Option<Text> {
        while let Some((_, id)) = self.deadlines.pop_front() {
            if self.queues.contains_key(&id) {
                return Some(id);
            }
        }
        None
    }

    /// Takes out what waits for a container.
    pub(crate) fn take(&mut self, id: &Text) -> Vec<Arc<Event>> {
        let events = self.queues.remove(id).unwrap_or_default();
        self.held -= events.len();
        for process in events.iter().filter_map(|event| event.process.as_ref()) {
            self.processes.remove(&process.entity_id);
        }
        // Otherwise a container that comes and goes leaves one entry each time, up to the wait's length.
        if self.queues.is_empty() {
            self.deadlines.clear();
        }
        events
    }

    /// The containers that are waited for, with one event of each.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (&Text, &Arc<Event>)> {
        self.queues.iter().filter_map(|(id, events)| Some((id, events.first()?)))
    }
}
