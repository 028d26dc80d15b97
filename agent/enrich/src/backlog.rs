//! Events that wait behind the exec of their process, each for a bounded time of its own.

use foldhash::quality::RandomState;
use hostward_event::{EntityId, Event};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

#[derive(Debug)]
struct Queue {
    /// When the first event has waited long enough.
    deadline_ns: u64,
    events: VecDeque<Arc<Event>>,
}

#[derive(Debug)]
pub(crate) struct Backlog {
    queues: HashMap<EntityId, Queue, RandomState>,
    deadlines: BTreeSet<(u64, EntityId)>,
    held: usize,
    limit: usize,
    wait_ns: u64,
}

impl Backlog {
    pub(crate) fn new(limit: usize, wait_ms: u32) -> Self {
        let wait_ns = u64::from(wait_ms) * 1_000_000;
        Self { queues: HashMap::default(), deadlines: BTreeSet::new(), held: 0, limit, wait_ns }
    }

    pub(crate) const fn len(&self) -> usize {
        self.held
    }

    /// Something of this process waits.
    pub(crate) fn holds(&self, process: EntityId) -> bool {
        self.queues.contains_key(&process)
    }

    /// Puts an event behind those of its process. Gives the process whose events have to go out for it, if the
    /// bound is reached: the one that waits longest.
    pub(crate) fn push(&mut self, process: EntityId, event: Arc<Event>) -> Option<EntityId> {
        let deadline_ns = self.deadline(&event);
        let deadlines = &mut self.deadlines;
        let queue = self.queues.entry(process).or_insert_with(|| {
            deadlines.insert((deadline_ns, process));
            Queue { deadline_ns, events: VecDeque::new() }
        });
        queue.events.push_back(event);
        self.held += 1;
        if self.held > self.limit { self.due(u64::MAX) } else { None }
    }

    /// The event of this process that waits longest.
    pub(crate) fn front(&self, process: EntityId) -> Option<&Arc<Event>> {
        self.queues.get(&process)?.events.front()
    }

    /// Takes the event of this process out that waits longest.
    pub(crate) fn pop(&mut self, process: EntityId) -> Option<Arc<Event>> {
        let queue = self.queues.get_mut(&process)?;
        let event = queue.events.pop_front()?;
        self.held -= 1;
        self.deadlines.remove(&(queue.deadline_ns, process));
        match queue.events.front().cloned() {
            Some(next) => {
                let deadline_ns = self.deadline(&next);
                if let Some(queue) = self.queues.get_mut(&process) {
                    queue.deadline_ns = deadline_ns;
                }
                self.deadlines.insert((deadline_ns, process));
            }
            None => drop(self.queues.remove(&process)),
        }
        Some(event)
    }

    /// A process whose first event has waited long enough.
    pub(crate) fn due(&self, now_ns: u64) -> Option<EntityId> {
        self.deadlines.first().filter(|(deadline_ns, _)| *deadline_ns <= now_ns).map(|(_, process)| *process)
    }

    pub(crate) fn is_due(&self, process: EntityId, now_ns: u64) -> bool {
        self.queues.get(&process).is_some_and(|queue| queue.deadline_ns <= now_ns)
    }

    /// Counted from the event, so that one that waited elsewhere before does not wait again.
    fn deadline(&self, event: &Event) -> u64 {
        event.source.map_or(0, |source| source.boot_ns).saturating_add(self.wait_ns)
    }
}
