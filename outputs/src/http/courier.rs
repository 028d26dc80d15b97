//! Takes a batch to its destination in several requests. See the module above.

use super::client::{Client, Login, Opener};
use super::config::HttpSettings;
use super::outcome::{Failure, Item, Outcome};
use super::pace::Pace;
use super::record::{Part, Record, Records, cut};
use super::room::Room;
use super::wire::Wire;
use crate::ledger::Lane;
use crate::net::vitals::Vitals;
use crate::sink::{Ack, Batch, FailureKind, SendFailure, Sink, Verdict};
use hostward_event::encode::Form;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Some servers close the connection while a request that is too large still arrives, so that their 413
/// is never seen. Broken off so often in a row, requests above [`SUSPECT_BYTES`] are taken for that.
const SUSPECT_AFTER: u32 = 2;
const SUSPECT_BYTES: usize = 128 << 10;

/// See the module.
pub(crate) struct Courier<W> {
    wire: Arc<W>,
    form: Form,
    opener: Opener,
    request_events: usize,
    pace: Pace,
    room: Room,
    /// Requests in a row that broke off without a reply.
    cut_off: u32,
    /// It is the one for alerts that overtake a call.
    is_twin: bool,
    learned: Arc<Learned>,
}

/// What a courier and its twin for alerts know together.
struct Learned {
    vitals: Mutex<Vitals>,
    /// The destination has taken an event before: a refusal is then worth something.
    has_delivered: AtomicBool,
    requests: AtomicU64,
    split_requests: AtomicU64,
    alert_slot_calls: AtomicU64,
}

impl Learned {
    fn vitals(&self) -> MutexGuard<'_, Vitals> {
        self.vitals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a batch has come to.
struct Run {
    verdicts: Vec<Verdict>,
    delivered: usize,
    /// Events that were refused alone by a refusal of their whole request: slot, why.
    refused: Vec<(usize, String)>,
    failure: Option<Failure>,
}

struct Flown {
    part: Part,
    took: Duration,
    outcome: Outcome,
}

impl<W: Wire> Courier<W> {
    pub(crate) fn new(wire: W, form: Form, settings: HttpSettings, login: Option<Login>) -> Self {
        Self {
            wire: Arc::new(wire),
            form,
            request_events: settings.request_events,
            pace: Pace::new(settings.concurrency),
            room: Room::new(settings.request_bytes),
            learned: Arc::new(Learned {
                vitals: Mutex::new(Vitals::new(settings.name.clone())),
                has_delivered: AtomicBool::new(false),
                requests: AtomicU64::new(0),
                split_requests: AtomicU64::new(0),
                alert_slot_calls: AtomicU64::new(0),
            }),
            opener: Opener::new(settings, login),
            cut_off: 0,
            is_twin: false,
        }
    }

    /// One request at a time, and the servers, the back-off and the counters of its original.
    fn twin(&self) -> Self {
        Self {
            wire: Arc::clone(&self.wire),
            form: self.form.clone(),
            opener: self.opener.twin(),
            request_events: self.request_events,
            pace: Pace::new(1),
            room: self.room.clone(),
            cut_off: 0,
            is_twin: true,
            learned: Arc::clone(&self.learned),
        }
    }

    fn records(&self, batch: &Batch) -> Arc<Records> {
        let mut records = Records::default();
        for lane in [Lane::Alert, Lane::Telemetry] {
            for (slot, item) in batch.items.iter().enumerate().filter(|(_, item)| item.lane == lane) {
                let start = records.bytes.len();
                self.wire.record(&self.form, &item.event, &mut records.bytes);
                records.list.push(Record { id: item.event.id, slot, bytes: start..records.bytes.len() });
            }
            if lane == Lane::Alert {
                records.alerts = records.list.len();
            }
        }
        if let Some(event) = batch.events().next() {
            self.wire.head(event, &mut records.head);
        }
        Arc::new(records)
    }

    /// Sends all parts, a few at a time, until all have an end or one fails.
    async fn run(&mut self, client: &Client, records: &Arc<Records>) -> Run {
        let mut run = Run {
            verdicts: vec![Verdict::Retry; records.list.len()],
            delivered: 0,
            refused: Vec::new(),
            failure: None,
        };
        let mut waiting = VecDeque::from(cut(records, self.request_events, self.room.bytes()));
        let mut flying: JoinSet<Flown> = JoinSet::new();
        loop {
            while run.failure.is_none() && flying.len() < self.pace.limit() {
                let Some(part) = waiting.pop_front() else { break };
                self.learned.requests.fetch_add(1, Ordering::Relaxed);
                let (wire, client) = (Arc::clone(&self.wire), client.clone());
                flying.spawn(async move {
                    let start = Instant::now();
                    let outcome = wire.exchange(&client, &part).await;
                    Flown { part, took: start.elapsed(), outcome }
                });
            }
            match flying.join_next().await {
                None => return run,
                Some(Ok(flown)) => self.landed(flown, &mut run, &mut waiting),
                Some(Err(error)) => {
                    run.fail(Failure::passing(format!(
                        "a request's task ended: {error}; report this as a bug"
                    )));
                }
            }
        }
    }

    fn landed(&mut self, flown: Flown, run: &mut Run, waiting: &mut VecDeque<Part>) {
        let Flown { part, took, outcome } = flown;
        let took = if self.wire.latency_tells() { took } else { Duration::ZERO };
        self.suspect(&part, &outcome);
        match outcome {
            Outcome::Delivered => {
                self.pace.replied(took);
                self.room.taken();
                part.slots().for_each(|slot| run.settle(slot, Item::Delivered));
            }
            Outcome::Items(items) => {
                let overloaded = |item: &Item| matches!(item, Item::Kept(failure) if failure.is_overload);
                if items.iter().any(overloaded) {
                    self.pace.pushed_back();
                } else {
                    self.pace.replied(took);
                }
                self.room.taken();
                part.slots().zip(items).for_each(|(slot, item)| run.settle(slot, item));
            }
            Outcome::Refused(why) => self.split(part, why, run, waiting),
            Outcome::TooLarge(why) => {
                self.room.too_large(part.bytes());
                self.split(part, why, run, waiting);
            }
            Outcome::Kept(failure) => {
                if failure.is_overload {
                    self.pace.pushed_back();
                }
                run.fail(failure);
            }
        }
    }

    fn suspect(&mut self, part: &Part, outcome: &Outcome) {
        let is_cut_off = matches!(outcome, Outcome::Kept(failure) if failure.is_cut_off);
        self.cut_off = if is_cut_off { self.cut_off + 1 } else { 0 };
        if self.cut_off >= SUSPECT_AFTER && part.bytes() > SUSPECT_BYTES {
            self.room.too_large(part.bytes());
            self.cut_off = 0;
        }
    }

    /// Both halves are tried next, before what waits: the sooner is it known which event it was.
    fn split(&mut self, part: Part, why: String, run: &mut Run, waiting: &mut VecDeque<Part>) {
        if part.len() <= 1 {
            run.refused.extend(part.slots().map(|slot| (slot, why.clone())));
            return;
        }
        self.learned.split_requests.fetch_add(1, Ordering::Relaxed);
        let (first, second) = part.halves();
        waiting.push_front(second);
        waiting.push_front(first);
    }

    fn answer(&mut self, mut run: Run) -> Result<Ack, SendFailure> {
        if run.delivered > 0 {
            self.learned.has_delivered.store(true, Ordering::Relaxed);
        }
        if self.learned.has_delivered.load(Ordering::Relaxed) {
            for (slot, why) in std::mem::take(&mut run.refused) {
                run.settle(slot, Item::Rejected(why));
            }
        } else if let Some((_, why)) = run.refused.first() {
            let hint = "it has taken no event yet, so it may be no such server; check the URL";
            let failure = Failure::needs_help(format!("{why}; {hint}"));
            run.fail(failure);
        }
        let rejected = run.verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Rejected(_))).count();
        let mut vitals = self.learned.vitals();
        if rejected > 0 {
            vitals.rejected(u64::try_from(rejected).unwrap_or(u64::MAX));
        }
        let Some(failure) = run.failure else {
            vitals.acked();
            return Ok(Ack::Each(run.verdicts));
        };
        if failure.kind == FailureKind::NeedsHelp {
            self.opener.forget_secrets();
        }
        if run.delivered > 0 {
            vitals.progressed();
        }
        let failure = vitals.failed_with(failure.kind, failure.message, failure.retry_after);
        Ok(Ack::Partly(run.verdicts, failure))
    }
}

impl Run {
    fn settle(&mut self, slot: usize, item: Item) {
        let verdict = match item {
            Item::Delivered => {
                self.delivered += 1;
                Verdict::Delivered
            }
            Item::Rejected(why) => Verdict::Rejected(why),
            Item::Kept(failure) => {
                self.fail(failure);
                Verdict::Retry
            }
        };
        if let Some(place) = self.verdicts.get_mut(slot) {
            *place = verdict;
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.failure = Some(match self.failure.take() {
            Some(before) => before.worse(failure),
            None => failure,
        });
    }
}

impl<W: Wire> Sink for Courier<W> {
    async fn send(&mut self, batch: &Batch) -> Result<Ack, SendFailure> {
        let client = self.wire.prepare().and_then(|()| self.opener.client());
        let client = match client {
            Ok(client) => client,
            Err(failure) => return Err(self.learned.vitals().failed(&failure)),
        };
        if self.is_twin {
            self.learned.alert_slot_calls.fetch_add(1, Ordering::Relaxed);
        }
        let records = self.records(batch);
        let run = self.run(&client, &records).await;
        self.answer(run)
    }

    fn alert_slot(&self) -> Option<Self> {
        Some(self.twin())
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let counted = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let own = [
            ("requests", counted(&self.learned.requests)),
            ("split_requests", counted(&self.learned.split_requests)),
            ("alert_slot_calls", counted(&self.learned.alert_slot_calls)),
            ("requests_at_once", u64::try_from(self.pace.limit()).unwrap_or(u64::MAX)),
            ("request_bytes_limit", u64::try_from(self.room.bytes()).unwrap_or(u64::MAX)),
        ];
        [&own[..], &self.learned.vitals().counters(), &self.wire.counters()].concat()
    }
}
