//! The last events, for `hostward events`: a bounded ring that followers read at their own pace.
//!
//! A follower that is slower than the stream is told how many it missed; it never holds the
//! pipeline up.

use hostward_event::Event;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// The ring.
#[derive(Debug)]
pub struct Recent {
    inner: Mutex<Inner>,
    news: Notify,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<Arc<Event>>,
    /// Number of the oldest event in the ring.
    first: u64,
}

/// What a follower gets at once.
#[derive(Debug)]
pub struct Batch {
    /// Events that left the ring before the follower came.
    pub missed: u64,
    /// The next events.
    pub events: Vec<Arc<Event>>,
    /// Where to go on.
    pub next: u64,
}

impl Recent {
    /// A ring of `capacity` events.
    pub fn new(capacity: usize) -> Self {
        Self { inner: Mutex::default(), news: Notify::new(), capacity }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds events, the oldest making room.
    pub fn extend(&self, events: impl IntoIterator<Item = Arc<Event>>) {
        self.with(|inner| {
            inner.events.extend(events);
            while inner.events.len() > self.capacity {
                inner.events.pop_front();
                inner.first += 1;
            }
        });
        self.news.notify_waiters();
    }

    /// Where a follower begins that wants the events since `since_ns` (ns since the epoch); none: only new ones.
    pub fn start(&self, since_ns: Option<i64>) -> u64 {
        self.with(|inner| {
            let old = match since_ns {
                Some(since) => inner.events.iter().take_while(|event| event.time_ns < since).count(),
                None => inner.events.len(),
            };
            inner.first + old as u64
        })
    }

    /// Up to `max` events from number `from` on.
    pub fn read(&self, from: u64, max: usize) -> Batch {
        self.with(|inner| {
            let missed = inner.first.saturating_sub(from);
            let skip = usize::try_from(from.saturating_sub(inner.first)).unwrap_or(usize::MAX);
            let events: Vec<_> = inner.events.iter().skip(skip).take(max).cloned().collect();
            Batch { missed, next: from.max(inner.first) + events.len() as u64, events }
        })
    }

    /// Returns when there is something new; a tick of the caller's guards against the race between
    /// reading and waiting.
    pub async fn changed(&self) {
        self.news.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostward_event::EventId;
    use hostward_event::event::{Body, Surroundings};

    fn event(time_ns: i64) -> Arc<Event> {
        Arc::new(Event {
            id: EventId::default(),
            sequence: 0,
            time_ns,
            created_ns: 0,
            source: None,
            tid: 0,
            process: None,
            lineage: Arc::default(),
            session_leader: None,
            around: Arc::new(Surroundings::default()),
            body: Body::Fork,
            program: None,
            inside: None,
            domain: None,
            partial: false,
            alert: None,
        })
    }

    #[test]
    fn a_slow_follower_is_told_what_it_missed() {
        let recent = Recent::new(3);
        let start = recent.start(None);
        recent.extend((0..5).map(event));
        let batch = recent.read(start, 10);
        assert_eq!((batch.missed, batch.events.len(), batch.next), (2, 3, 5));
        assert_eq!(recent.read(batch.next, 10).events.len(), 0);
        assert_eq!(recent.start(Some(4)), 4);
        assert_eq!(recent.start(Some(0)), 2);
    }
}
