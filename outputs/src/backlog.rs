//! The spool as a sink's driver sees it: take a batch, settle it by the destination's answer.
//!
//! The counts are the spool's; here are only the call that runs, the sink's condition, and the pace of
//! catching up after an outage.

use crate::condition::{Condition, Next, Phase, Supply, unix_ms};
use crate::config::QueueConfig;
use crate::ledger::Lane;
use crate::recent::Recent;
use crate::sink::{Ack, Batch, FailureKind, Item, SendFailure, Verdict};
use crate::spool::{CursorStatus, Lanes, Reader, Record, Settled, SinkSet};
use crate::status::{SinkStatus, State};
use crate::weight::weigh;
use hostward_event::{Event, canonical, encode};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What is older than this when it is taken is a backlog, sent at the replay's pace.
const BACKLOG_AGE_MS: i64 = 60_000;
/// While a destination fails, an attempt takes no more than this: events that are decoded in vain, again and
/// again, cost memory for nothing.
const PROBE_EVENTS: usize = 64;
const PROBE_BYTES: u64 = 1 << 18;
/// Something waits and cannot be had just now: look again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// After a dead letter could not be written.
const DEAD_LETTER_RETRY: Duration = Duration::from_secs(1);

struct Flight {
    batch: Arc<Batch>,
    records: Vec<Record>,
}

struct Inner {
    flight: Option<Flight>,
    /// The alerts' own call beside it.
    alert_flight: Option<Flight>,
    /// Telemetry that was made ready while the last call ran; goes next.
    ahead: Option<Flight>,
    condition: Condition,
    /// Events of the spool that are in memory too.
    recent: Recent,
    /// When something was first seen to wait after the last batch.
    waiting_since: Option<Instant>,
    /// Telemetry is held back until then.
    held_until: Option<Instant>,
    /// The start's look at the backlog was taken.
    started: bool,
}

/// See the module.
pub(crate) struct Backlog {
    kind: &'static str,
    config: QueueConfig,
    replay_jitter: Duration,
    replay_events_per_s: u64,
    reader: Reader,
    pub(crate) set: SinkSet,
    filtered: AtomicU64,
    inner: Mutex<Inner>,
    finished: Condvar,
}

impl Backlog {
    pub(crate) fn new(
        kind: &'static str,
        config: QueueConfig,
        spool: &crate::spool::SpoolConfig,
        reader: Reader,
        set: SinkSet,
    ) -> Self {
        let inner = Inner {
            flight: None,
            alert_flight: None,
            ahead: None,
            condition: Condition::new(),
            recent: Recent::default(),
            waiting_since: None,
            held_until: None,
            started: false,
        };
        Self {
            kind,
            config,
            replay_jitter: Duration::from_millis(spool.replay_jitter_ms),
            replay_events_per_s: spool.replay_events_per_s,
            reader,
            set,
            filtered: AtomicU64::new(0),
            inner: Mutex::new(inner),
            finished: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count_filtered(&self) {
        self.filtered.fetch_add(1, Ordering::Relaxed);
    }

    /// The spool has this event for the sink under this number, as a record of so many bytes. A sink that fails reads it
    /// from there.
    pub(crate) fn keep(&self, lane: Lane, seq: u64, event: &Arc<Event>, bytes: usize) {
        let mut inner = self.lock();
        if inner.condition.failing || inner.condition.done {
            let recent = std::mem::take(&mut inner.recent);
            // They may be thousands: nobody waits for the lock meanwhile.
            drop(inner);
            drop(recent);
        } else {
            inner.recent.keep(lane, seq, event, bytes);
        }
    }

    /// Sends what it can until `deadline`; the rest stays in the spool.
    pub(crate) fn begin_close(&self, deadline: Instant) {
        self.lock().condition.begin_close(deadline);
        self.reader.wake();
    }

    /// Waits until the thread is through or `deadline`. What is in flight waits in the spool again. Gives
    /// how many events wait there.
    pub(crate) fn seal(&self, deadline: Instant) -> u64 {
        let left = deadline.saturating_duration_since(Instant::now());
        let done = self.finished.wait_timeout_while(self.lock(), left, |inner| !inner.condition.done);
        let mut inner = done.unwrap_or_else(PoisonError::into_inner).0;
        inner.condition.phase = Phase::Sealed;
        self.give_back(inner.flight.take());
        self.give_back(inner.alert_flight.take());
        self.give_back(inner.ahead.take());
        drop(inner);
        let backlog = self.reader.backlog();
        backlog.alerts.events + backlog.telemetry.events
    }

    fn give_back(&self, flight: Option<Flight>) {
        if let Some(flight) = flight {
            // Retries write no dead letters, which is all that can fail.
            let _ = self.reader.settle(&flight.records, []);
        }
    }

    pub(crate) fn status(&self, now: Instant) -> SinkStatus {
        let inner = self.lock();
        let books = self.reader.books();
        let sum = |of: fn(&CursorStatus) -> u64| books.iter().map(of).sum::<u64>();
        let oldest = books.iter().filter_map(|books| books.oldest_unix_ms).min();
        let recent: Vec<_> = books.iter().flat_map(|books| books.recent_drops.iter().copied()).collect();
        let last_drop = recent.iter().max_by_key(|range| range.last_unix_ms);
        let flying = inner.flight.iter().chain(&inner.alert_flight).chain(&inner.ahead);
        let flying = flying.flat_map(|flight| &flight.batch.items);
        let mut counters = inner.condition.counters.clone();
        counters.push(("dead_letter_files_expired", self.reader.expired_dead_letter_files()));
        SinkStatus {
            name: self.reader.sink().to_owned(),
            kind: self.kind,
            health: inner.condition.health_now(now, last_drop),
            condition: inner.condition.word(now),
            last_error: inner.condition.last_error.clone(),
            accepted: sum(|books| books.accepted),
            delivered: sum(|books| books.delivered),
            queued: sum(|books| books.in_spool),
            queued_bytes: sum(|books| books.in_spool_bytes),
            in_flight: sum(|books| books.in_flight),
            dlq: sum(|books| books.dlq),
            dropped: books.iter().flat_map(|books| books.dropped.iter().copied()).collect(),
            filtered: self.filtered.load(Ordering::Relaxed),
            held_bytes: flying.map(|item| item.bytes).sum(),
            oldest_age_ms: oldest.map(|oldest| u64::try_from(unix_ms() - oldest).unwrap_or(0)),
            failed_sends: inner.condition.failed_sends,
            recent_drops: recent,
            counters,
        }
    }

    /// An outage ended, or the agent starts with a backlog: telemetry waits a random while, so that a
    /// fleet does not come back at once. Alerts do not wait.
    fn hold(&self, inner: &mut Inner, now: Instant) {
        let old = self
            .reader
            .backlog()
            .oldest_ns
            .is_some_and(|oldest| unix_ms() - oldest / 1_000_000 > BACKLOG_AGE_MS);
        if old && !self.replay_jitter.is_zero() {
            let most = u64::try_from(self.replay_jitter.as_millis()).unwrap_or(u64::MAX);
            inner.held_until = Some(now + Duration::from_millis(fastrand::u64(0..=most)));
        }
    }

    /// Makes a batch of records, of those events that are in memory or decoded. What cannot be decoded goes to the
    /// dead letters at once.
    fn decode(&self, records: Vec<Record>, in_order: bool, now: Instant) -> (Batch, Vec<Record>) {
        let mut good: VecDeque<(Item, Record)> = VecDeque::with_capacity(records.len());
        let mut bad = Vec::new();
        let kept: Vec<Option<Arc<Event>>> = {
            let mut inner = self.lock();
            records.iter().map(|record| inner.recent.take(record.lane(), record.seq())).collect()
        };
        for (record, kept) in records.into_iter().zip(kept) {
            match kept.map_or_else(|| canonical::decode(record.bytes()).map(Arc::new), Ok) {
                Ok(event) => {
                    let bytes = weigh(&event);
                    good.push_back((Item { event, lane: record.lane(), bytes, queued_at: now }, record));
                }
                Err(error) => bad.push((record, error.to_string())),
            }
        }
        if !bad.is_empty() {
            let (records, reasons): (Vec<_>, Vec<_>) = bad.into_iter().unzip();
            let verdicts = reasons.into_iter().map(|reason| Settled::Rejected { reason, document: None });
            if let Err(error) = self.reader.settle(&records, verdicts) {
                let mut inner = self.lock();
                inner.condition.error(format!("dead letters cannot be written: {error}; make room"));
            }
        }
        if in_order {
            // A reader likes the pipeline's order; a sink that catches up wants the alerts first.
            good.make_contiguous().sort_by_key(|(item, _)| item.event.sequence);
        }
        let (items, records) = good.into_iter().unzip();
        (Batch { items }, records)
    }

    /// Puts a batch in flight.
    fn launch(&self, inner: &mut Inner, flight: Flight, now: Instant) -> Arc<Batch> {
        let oldest_ms = flight.records.iter().map(|record| record.time_ns() / 1_000_000).min();
        let is_backlog = oldest_ms.is_some_and(|oldest| unix_ms() - oldest > BACKLOG_AGE_MS);
        if is_backlog && self.replay_events_per_s > 0 {
            let telemetry = flight.records.iter().filter(|record| record.lane() == Lane::Telemetry).count();
            let events = u64::try_from(telemetry).unwrap_or(u64::MAX);
            let micros = events.saturating_mul(1_000_000) / self.replay_events_per_s;
            inner.held_until = Some(now + Duration::from_micros(micros));
        }
        let batch = Arc::clone(&flight.batch);
        inner.condition.busy_since = Some(now);
        inner.flight = Some(flight);
        batch
    }

    /// Settles a flight by the destination's answer.
    fn book(&self, Flight { batch, records }: Flight, answer: Result<Ack, SendFailure>) {
        let (verdicts, failure) = match answer {
            Ok(Ack::All) => (vec![Verdict::Delivered; batch.len()], None),
            Ok(Ack::Each(verdicts)) => (verdicts, None),
            Ok(Ack::Partly(verdicts, failure)) => (verdicts, Some(failure)),
            Err(failure) => (vec![Verdict::Delivered; failure.delivered], Some(failure)),
        };
        let mut refusal = None;
        let settled: Vec<Settled> = verdicts
            .into_iter()
            .zip(batch.events())
            .map(|(verdict, event)| match verdict {
                Verdict::Delivered => Settled::Delivered,
                Verdict::Retry => Settled::Retry,
                Verdict::Rejected(reason) => {
                    refusal = Some(reason.clone());
                    Settled::Rejected { reason, document: Some(document(event)) }
                }
            })
            .collect();
        let written = self.reader.settle(&records, settled);
        let mut inner = self.lock();
        if let Some(refusal) = refusal {
            inner.condition.refused(refusal);
        }
        let was_failing = inner.condition.failing;
        let failure = failure.or_else(|| {
            let message = format!("dead letters cannot be written: {}; make room", written.err()?);
            let failure = SendFailure::new(FailureKind::Passing, message);
            Some(SendFailure { retry_after: DEAD_LETTER_RETRY, ..failure })
        });
        match failure {
            None => {
                inner.condition.recovered();
                if was_failing {
                    self.hold(&mut inner, Instant::now());
                }
            }
            Some(failure) => {
                if inner.condition.failed(&failure) {
                    drop(inner);
                    self.reader.end();
                }
            }
        }
    }
}

fn document(event: &Event) -> Vec<u8> {
    let mut out = Vec::new();
    encode::ecs(event, &mut out);
    out
}

impl Supply for Backlog {
    fn next(&self, now: Instant) -> Next {
        let backlog = self.reader.backlog();
        let (lanes, in_order, everything) = {
            let mut inner = self.lock();
            let deadline = match inner.condition.phase {
                Phase::Sealed => return Next::Finish,
                Phase::Closing(deadline) => Some(deadline),
                Phase::Open => None,
            };
            // What waits is safe where it is: a sink that fails does not hold up the end.
            if deadline.is_some_and(|deadline| now >= deadline || inner.condition.failing) {
                return Next::Finish;
            }
            if !std::mem::replace(&mut inner.started, true) {
                self.hold(&mut inner, now);
            }
            if backlog.alerts.events == 0
                && let Some(ahead) = inner.ahead.take()
            {
                return Next::Send(self.launch(&mut inner, ahead, now));
            }
            if backlog.alerts.events + backlog.telemetry.events == 0 {
                inner.waiting_since = None;
                return if deadline.is_some() { Next::Finish } else { Next::Wait(None) };
            }
            if let Some(retry_at) = inner.condition.retry_at.filter(|at| now < *at) {
                return Next::Wait(Some(retry_at));
            }
            let held = inner.held_until.filter(|until| now < *until);
            if backlog.alerts.events == 0 {
                if let Some(held) = held {
                    return if deadline.is_some() { Next::Finish } else { Next::Wait(Some(held)) };
                }
                let since = *inner.waiting_since.get_or_insert(now);
                let due = since + Duration::from_millis(self.config.linger_ms);
                let full = usize::try_from(backlog.telemetry.events)
                    .is_ok_and(|events| events >= self.config.batch_events);
                if !full && now < due && deadline.is_none() {
                    return Next::Wait(Some(due));
                }
            }
            inner.waiting_since = None;
            let is_alerts_turn = held.is_some() || inner.ahead.is_some();
            let lanes = if is_alerts_turn { Lanes::AlertsOnly } else { Lanes::Both };
            (lanes, !inner.condition.failing, backlog.alerts.events + backlog.telemetry.events)
        };
        // The disk is read without the lock: status does not wait for it.
        let (events, bytes) = if in_order {
            (self.config.batch_events, self.config.batch_bytes)
        } else {
            (PROBE_EVENTS.min(self.config.batch_events), PROBE_BYTES.min(self.config.batch_bytes))
        };
        let records = self.reader.take(lanes, events, bytes);
        let all = u64::try_from(records.len()).is_ok_and(|taken| taken >= everything);
        let (batch, records) = self.decode(records, in_order && all, now);
        if records.is_empty() {
            return Next::Wait(Some(now + LOOK_AGAIN));
        }
        let flight = Flight { batch: Arc::new(batch), records };
        Next::Send(self.launch(&mut self.lock(), flight, now))
    }

    /// A thread is worth it when a whole batch waits, and it may go at once when its turn comes.
    fn wants_ahead(&self) -> bool {
        let inner = self.lock();
        let is_free =
            inner.condition.phase == Phase::Open && !inner.condition.failing && inner.ahead.is_none();
        let is_held = inner.held_until.is_some_and(|until| Instant::now() < until);
        drop(inner);
        let waiting = self.reader.backlog().telemetry.events;
        is_free
            && !is_held
            && usize::try_from(waiting).is_ok_and(|waiting| waiting >= self.config.batch_events)
    }

    fn read_ahead(&self) {
        let (events, bytes) = (self.config.batch_events, self.config.batch_bytes);
        let records = self.reader.take(Lanes::TelemetryOnly, events, bytes);
        let (batch, records) = self.decode(records, false, Instant::now());
        let flight = Flight { batch: Arc::new(batch), records };
        let mut inner = self.lock();
        if inner.condition.phase == Phase::Sealed || flight.records.is_empty() {
            drop(inner);
            self.give_back(Some(flight));
        } else {
            inner.ahead = Some(flight);
        }
    }

    fn settle(&self, answer: Result<Ack, SendFailure>) {
        let flight = {
            let mut inner = self.lock();
            inner.condition.busy_since = None;
            inner.flight.take()
        };
        if let Some(flight) = flight {
            self.book(flight, answer);
        }
        let mut inner = self.lock();
        if inner.condition.failing {
            // Tries are small, and begin with what is oldest.
            let ahead = inner.ahead.take();
            drop(inner);
            self.give_back(ahead);
        }
    }

    fn next_alerts(&self, now: Instant) -> Option<Arc<Batch>> {
        {
            let inner = self.lock();
            let is_free = inner.flight.is_some() && inner.alert_flight.is_none();
            if !is_free || !inner.condition.may_send(now) {
                return None;
            }
        }
        if self.reader.backlog().alerts.events == 0 {
            return None;
        }
        let records = self.reader.take(Lanes::AlertsOnly, self.config.batch_events, self.config.batch_bytes);
        let (batch, records) = self.decode(records, true, now);
        if records.is_empty() {
            return None;
        }
        let batch = Arc::new(batch);
        self.lock().alert_flight = Some(Flight { batch: Arc::clone(&batch), records });
        Some(batch)
    }

    fn settle_alerts(&self, answer: Result<Ack, SendFailure>) {
        let flight = self.lock().alert_flight.take();
        if let Some(flight) = flight {
            self.book(flight, answer);
        }
    }

    fn note(&self, result: Result<(), SendFailure>) {
        let backlog = self.reader.backlog();
        let waiting = backlog.alerts.events + backlog.telemetry.events;
        let mut inner = self.lock();
        // One that went well ends a failure only when nothing waits to prove it.
        match result {
            Ok(()) if waiting == 0 => inner.condition.recovered(),
            Ok(()) => {}
            Err(failure) => {
                if inner.condition.failed(&failure) {
                    drop(inner);
                    self.reader.end();
                }
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.lock().condition.deadline()
    }

    async fn woken(&self) {
        self.reader.woken().await;
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
            inner.condition.died();
        }
        let flights = [inner.flight.take(), inner.alert_flight.take(), inner.ahead.take()];
        inner.condition.done = true;
        drop(inner);
        flights.into_iter().for_each(|flight| self.give_back(flight));
        self.finished.notify_all();
    }
}
