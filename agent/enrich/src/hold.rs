//! Events that wait until their container is known, each for a bounded time.
//!
//! A queue per container keeps the order of what happened in it, and so of each of its processes. A
//! process that leaves its container while events of it wait is kept behind them.

use hostward_event::{EntityId, Event, Text};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

#[derive(Debug)]
struct Queue {
    deadline_ns: u64,
    events: Vec<Arc<Event>>,
}

#[derive(Debug)]
pub(crate) struct Hold {
    /// By container id; ordered, so that a replay releases in the same order.
    queues: BTreeMap<Text, Queue>,
    /// When each queue is given up, oldest first. A queue that is gone leaves its entry behind until then.
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

    /// Events of this container wait.
    pub(crate) fn waits_for(&self, id: &Text) -> bool {
        self.queues.contains_key(id)
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
        let deadline_ns = now_ns.saturating_add(self.wait_ns);
        let deadlines = &mut self.deadlines;
        let queue = self.queues.entry(id.clone()).or_insert_with(|| {
            deadlines.push_back((deadline_ns, id.clone()));
            Queue { deadline_ns, events: Vec::new() }
        });
        queue.events.push(event);
        self.held += 1;
        (self.held > self.limit).then(|| self.due(u64::MAX)).flatten()
    }

    /// A container that has waited long enough.
    pub(crate) fn due(&mut self, now_ns: u64) -> Option<Text> {
        while self.deadlines.front().is_some_and(|(deadline_ns, _)| *deadline_ns <= now_ns) {
            let due = self.deadlines.pop_front().filter(|entry| self.is_current(entry));
            if let Some((_, id)) = due {
                return Some(id);
            }
        }
        None
    }

    /// The queue may be gone by now, and another one in its place.
    fn is_current(&self, (deadline_ns, id): &(u64, Text)) -> bool {
        self.queues.get(id).is_some_and(|queue| queue.deadline_ns == *deadline_ns)
    }

    /// Takes out what waits for a container.
    pub(crate) fn take(&mut self, id: &Text) -> Vec<Arc<Event>> {
        let events = self.queues.remove(id).map(|queue| queue.events).unwrap_or_default();
        self.held -= events.len();
        for process in events.iter().filter_map(|event| event.process.as_ref()) {
            self.processes.remove(&process.entity_id);
        }
        events
    }

    /// The containers that are waited for, with one event of each.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (&Text, &Arc<Event>)> {
        self.queues.iter().filter_map(|(id, queue)| Some((id, queue.events.first()?)))
    }
}
