//! The bounded queue between the pipeline and one sink, and the only place that counts.
//!
//! All counters change under one lock together with the lanes, so every reading obeys the law. The
//! lock is held for pushes and pops, never while a sink works. In-flight events count towards the
//! bounds: putting them back never exceeds it.

use crate::condition::{Condition, Next, Phase, Supply, unix_ms};
use crate::config::{QueueConfig, WhenFull};
use crate::ledger::{Lane, Ledger, Reason};
use crate::sink::{Ack, Batch, Item, SendFailure, Verdict};
use crate::status::{SinkStatus, State};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// One lane's waiting events, and how much of the bound the lane holds with those in flight.
#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<Item>,
    held_events: u64,
    held_bytes: u64,
}

#[derive(Debug)]
struct Inner {
    alerts: Waiting,
    telemetry: Waiting,
    /// The batch of the call that runs now. Kept here so that the books can be closed without the driver.
    flying: Option<Arc<Batch>>,
    /// And of the alerts' own call beside it.
    flying_alerts: Option<Arc<Batch>>,
    ledger: Ledger,
    condition: Condition,
}

#[derive(Debug)]
pub(crate) struct Queue {
    name: String,
    kind: &'static str,
    config: QueueConfig,
    inner: Mutex<Inner>,
    wake: Notify,
    finished: Condvar,
}

impl Queue {
    pub(crate) fn new(name: String, kind: &'static str, config: QueueConfig) -> Self {
        let inner = Inner {
            alerts: Waiting::default(),
            telemetry: Waiting::default(),
            flying: None,
            flying_alerts: None,
            ledger: Ledger::default(),
            condition: Condition::new(),
        };
        Self { name, kind, config, inner: Mutex::new(inner), wake: Notify::new(), finished: Condvar::new() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Counting goes on even if some thread panicked inside: every change is complete per event.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count_filtered(&self) {
        self.lock().ledger.filtered += 1;
    }

    /// Offers an event. Never waits for more than the lock.
    pub(crate) fn push(&self, item: Item) {
        let mut inner = self.lock();
        if inner.condition.health.state == State::Ended {
            return;
        }
        let lane = item.lane;
        let was_idle = inner.lane(lane).items.is_empty();
        inner.push(item, &self.config);
        let batch_full = inner.telemetry.items.len() == self.config.batch_events;
        let wake = was_idle || batch_full;
        drop(inner);
        // A permit is kept when the driver is not waiting. In between, it looks by itself.
        if wake {
            self.wake.notify_one();
        }
    }

    /// Takes no more events; what is queued may leave until `deadline`.
    pub(crate) fn begin_close(&self, deadline: Instant) {
        self.lock().condition.begin_close(deadline);
        self.wake.notify_one();
    }

    /// Waits until the thread is through or `deadline`, then closes the books: what is left counts
    /// as dropped by shutdown. Gives how many were left.
    pub(crate) fn seal(&self, deadline: Instant) -> u64 {
        let left = deadline.saturating_duration_since(Instant::now());
        let done = self.finished.wait_timeout_while(self.lock(), left, |inner| !inner.condition.done);
        let mut inner = done.unwrap_or_else(PoisonError::into_inner).0;
        let before = inner.ledger.dropped_events();
        inner.drop_all(Reason::Shutdown);
        inner.condition.phase = Phase::Sealed;
        inner.ledger.dropped_events() - before
    }

    pub(crate) fn take_ranges(&self) -> Vec<crate::DropRange> {
        self.lock().ledger.take_ranges()
    }

    pub(crate) fn status(&self, now: Instant) -> SinkStatus {
        let inner = self.lock();
        let flying = inner.flying().map(|item| item.queued_at).min();
        let oldest = match (inner.oldest_queued(), flying) {
            (Some(queued), Some(flying)) => Some(queued.min(flying)),
            (queued, flying) => queued.or(flying),
        };
        let age = |oldest: Instant| {
            u64::try_from(now.saturating_duration_since(oldest).as_millis()).unwrap_or(u64::MAX)
        };
        SinkStatus {
            name: self.name.clone(),
            kind: self.kind,
            health: inner.condition.health_now(now, inner.ledger.last_drop()),
            condition: inner.condition.word(now),
            last_error: inner.condition.last_error.clone(),
            accepted: inner.ledger.accepted,
            delivered: inner.ledger.delivered,
            queued: inner.queued(),
            queued_bytes: inner.queued_bytes(),
            in_flight: count(inner.flying().count()),
            dlq: 0,
            dropped: inner.ledger.dropped(),
            recent_drops: inner.ledger.ranges(),
            filtered: inner.ledger.filtered,
            held_bytes: inner.alerts.held_bytes + inner.telemetry.held_bytes,
            oldest_age_ms: oldest.map(age),
            failed_sends: inner.condition.failed_sends,
            counters: inner.condition.counters.clone(),
        }
    }
}

impl Supply for Queue {
    fn next(&self, now: Instant) -> Next {
        let mut inner = self.lock();
        let deadline = match inner.condition.phase {
            Phase::Sealed => return Next::Finish,
            Phase::Closing(deadline) => Some(deadline),
            Phase::Open => None,
        };
        if deadline.is_some_and(|deadline| now >= deadline) {
            return Next::Finish;
        }
        let Some(oldest) = inner.oldest_queued() else {
            return if deadline.is_some() { Next::Finish } else { Next::Wait(None) };
        };
        if let Some(retry_at) = inner.condition.retry_at.filter(|at| now < *at) {
            return Next::Wait(Some(deadline.map_or(retry_at, |deadline| deadline.min(retry_at))));
        }
        let due = oldest + Duration::from_millis(self.config.linger_ms);
        let urgent = !inner.alerts.items.is_empty()
            || inner.telemetry.items.len() >= self.config.batch_events
            || deadline.is_some();
        if !urgent && now < due {
            return Next::Wait(Some(due));
        }
        Next::Send(inner.take(&self.config, now))
    }

    fn settle(&self, answer: Result<Ack, SendFailure>) {
        let mut inner = self.lock();
        let Some(batch) = inner.flying.take() else { return };
        inner.condition.busy_since = None;
        inner.book(&batch, answer);
    }

    fn next_alerts(&self, now: Instant) -> Option<Arc<Batch>> {
        let mut inner = self.lock();
        let is_free = inner.flying.is_some() && inner.flying_alerts.is_none();
        if !is_free || inner.alerts.items.is_empty() || !inner.condition.may_send(now) {
            return None;
        }
        let items = inner.pop(&[Lane::Alert], &self.config);
        let batch = Arc::new(Batch { items });
        inner.flying_alerts = Some(Arc::clone(&batch));
        Some(batch)
    }

    fn settle_alerts(&self, answer: Result<Ack, SendFailure>) {
        let mut inner = self.lock();
        if let Some(batch) = inner.flying_alerts.take() {
            inner.book(&batch, answer);
        }
    }

    fn note(&self, result: Result<(), SendFailure>) {
        let mut inner = self.lock();
        // One that went well ends a failure only when nothing waits to prove it.
        match result {
            Ok(()) if inner.queued() == 0 => inner.condition.recovered(),
            Ok(()) => {}
            Err(failure) => inner.failed(&failure),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.lock().condition.deadline()
    }

    async fn woken(&self) {
        self.wake.notified().await;
    }

    fn ended(&self) -> bool {
        self.lock().condition.health.state == State::Ended
    }

    fn set_counters(&self, counters: Vec<(&'static str, u64)>) {
        self.lock().condition.counters = counters;
    }

    fn finish(&self, died: bool) {
        let mut inner = self.lock();
        if died && inner.condition.phase != Phase::Sealed {
            inner.drop_all(Reason::SinkDied);
            inner.condition.died();
        }
        inner.condition.done = true;
        drop(inner);
        self.finished.notify_all();
    }
}

impl Inner {
    const fn lane(&mut self, lane: Lane) -> &mut Waiting {
        match lane {
            Lane::Alert => &mut self.alerts,
            Lane::Telemetry => &mut self.telemetry,
        }
    }

    fn queued(&self) -> u64 {
        count(self.alerts.items.len() + self.telemetry.items.len())
    }

    fn queued_bytes(&self) -> u64 {
        let held = self.alerts.held_bytes + self.telemetry.held_bytes;
        held.saturating_sub(self.flying().map(|item| item.bytes).sum())
    }

    fn flying(&self) -> impl Iterator<Item = &Item> {
        self.flying.iter().chain(&self.flying_alerts).flat_map(|batch| &batch.items)
    }

    fn oldest_queued(&self) -> Option<Instant> {
        let head = |waiting: &Waiting| waiting.items.front().map(|item| item.queued_at);
        match (head(&self.alerts), head(&self.telemetry)) {
            (Some(alert), Some(telemetry)) => Some(alert.min(telemetry)),
            (alert, telemetry) => alert.or(telemetry),
        }
    }

    fn push(&mut self, item: Item, config: &QueueConfig) {
        self.ledger.accepted += 1;
        if self.condition.done {
            return self.lose(&item, Reason::SinkDied);
        }
        if self.condition.phase != Phase::Open {
            return self.lose(&item, Reason::Shutdown);
        }
        if item.bytes > config.lane_bytes(item.lane) {
            return self.lose(&item, Reason::Oversize);
        }
        while !self.fits(&item, config) {
            // Telemetry goes before alerts, and never for the sake of telemetry's own order an alert.
            let victim_lane = match item.lane {
                Lane::Alert if self.telemetry.items.is_empty() => Lane::Alert,
                _ => Lane::Telemetry,
            };
            let newest_goes = config.when_full == WhenFull::DropNewest;
            if newest_goes && victim_lane == item.lane {
                return self.lose(&item, Reason::QueueFull);
            }
            let waiting = self.lane(victim_lane);
            let victim = if newest_goes { waiting.items.pop_back() } else { waiting.items.pop_front() };
            let Some(victim) = victim else {
                // All the room is in flight or held by alerts.
                return self.lose(&item, Reason::QueueFull);
            };
            self.release(&victim);
            self.lose(&victim, Reason::QueueFull);
        }
        let waiting = self.lane(item.lane);
        waiting.held_events += 1;
        waiting.held_bytes += item.bytes;
        waiting.items.push_back(item);
    }

    fn fits(&self, item: &Item, config: &QueueConfig) -> bool {
        let all_events = self.alerts.held_events + self.telemetry.held_events + 1;
        let all_bytes = self.alerts.held_bytes + self.telemetry.held_bytes + item.bytes;
        let room =
            all_events <= config.lane_events(Lane::Alert) && all_bytes <= config.lane_bytes(Lane::Alert);
        let share = item.lane == Lane::Alert
            || (self.telemetry.held_events < config.lane_events(Lane::Telemetry)
                && self.telemetry.held_bytes + item.bytes <= config.lane_bytes(Lane::Telemetry));
        room && share
    }

    /// Gives back an event's share of the bound.
    const fn release(&mut self, item: &Item) {
        let waiting = self.lane(item.lane);
        waiting.held_events = waiting.held_events.saturating_sub(1);
        waiting.held_bytes = waiting.held_bytes.saturating_sub(item.bytes);
    }

    fn lose(&mut self, item: &Item, reason: Reason) {
        self.ledger.drop_event(item.lane, reason, item.event.sequence, item.bytes, unix_ms());
    }

    /// The oldest of these lanes, one lane after the other, as many as one call may have.
    fn pop(&mut self, lanes: &[Lane], config: &QueueConfig) -> Vec<Item> {
        let waiting = self.alerts.items.len() + self.telemetry.items.len();
        let mut items = Vec::with_capacity(config.batch_events.min(waiting));
        let mut bytes = 0_u64;
        for lane in lanes {
            let waiting = self.lane(*lane);
            while let Some(head) = waiting.items.front() {
                let full = items.len() >= config.batch_events || bytes + head.bytes > config.batch_bytes;
                if full && !items.is_empty() {
                    break;
                }
                let Some(head) = waiting.items.pop_front() else { break };
                bytes += head.bytes;
                items.push(head);
            }
        }
        items
    }

    fn take(&mut self, config: &QueueConfig, now: Instant) -> Arc<Batch> {
        let mut items = self.pop(&[Lane::Alert, Lane::Telemetry], config);
        // A reader likes the pipeline's order; a sink that catches up wants the alerts first.
        if !self.condition.failing && self.queued() == 0 {
            items.sort_by_key(|item| item.event.sequence);
        }
        let batch = Arc::new(Batch { items });
        self.flying = Some(Arc::clone(&batch));
        self.condition.busy_since = Some(now);
        batch
    }

    fn book(&mut self, batch: &Batch, answer: Result<Ack, SendFailure>) {
        let (verdicts, failure) = match answer {
            Ok(Ack::All) => (vec![Verdict::Delivered; batch.len()], None),
            Ok(Ack::Each(verdicts)) => (verdicts, None),
            Ok(Ack::Partly(verdicts, failure)) => (verdicts, Some(failure)),
            Err(failure) => (vec![Verdict::Delivered; failure.delivered], Some(failure)),
        };
        self.settle(batch, verdicts);
        match failure {
            None => self.condition.recovered(),
            Some(failure) => self.failed(&failure),
        }
    }

    fn settle(&mut self, batch: &Batch, verdicts: Vec<Verdict>) {
        let mut verdicts = verdicts.into_iter();
        let mut again = Vec::new();
        for item in &batch.items {
            match verdicts.next().unwrap_or(Verdict::Retry) {
                Verdict::Delivered => {
                    self.release(item);
                    self.ledger.deliver(item.lane, item.event.sequence);
                }
                Verdict::Retry => again.push(item.clone()),
                Verdict::Rejected(why) => {
                    self.release(item);
                    self.condition.refused(why);
                    self.lose(item, Reason::Rejected);
                }
            }
        }
        // In each lane the batch is older than what came meanwhile.
        for item in again.into_iter().rev() {
            self.lane(item.lane).items.push_front(item);
        }
    }

    /// Every event that waits or flies is dropped.
    fn drop_all(&mut self, reason: Reason) {
        self.condition.busy_since = None;
        for batch in [self.flying.take(), self.flying_alerts.take()].into_iter().flatten() {
            for item in &batch.items {
                self.release(item);
                self.lose(item, reason);
            }
        }
        for lane in [Lane::Alert, Lane::Telemetry] {
            while let Some(item) = self.lane(lane).items.pop_front() {
                self.release(&item);
                self.lose(&item, reason);
            }
        }
    }

    fn failed(&mut self, failure: &SendFailure) {
        if self.condition.failed(failure) {
            self.drop_all(Reason::SinkEnded);
        }
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
