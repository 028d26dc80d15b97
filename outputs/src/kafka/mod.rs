//! Records in a topic of Apache Kafka, by librdkafka.
//!
//! # Why it exists
//! A client library that gives up a record after five minutes turns an outage into a loss, and one that
//! is asked again after each failure turns it into doubles. Here nothing expires, and nothing is handed
//! to the library twice while it still has it.
//!
//! # How it works
//! `producer` makes a producer with `acks=all`, idempotence, no expiry and 16 MiB of memory. A call
//! hands its events over and waits for the delivery reports, which alone acknowledge. When the library
//! tells of a trouble (`signs`) the call returns with what it has; the library goes on by itself, and
//! `tickets` remembers what it holds, so that the same events, offered again, only wait for their
//! reports. Through restarts and crashes of brokers each event is then in the topic once.
//!
//! # What can go wrong
//! - *Brokers are gone, slow, or lack replicas*: the library tries for ever; the sink looks again each
//!   second. Silence for two minutes (no report, no error) makes a new producer.
//! - *A fatal error* (the broker forgot or fenced the producer): a new producer, and what was on the wire
//!   is sent again: it may be there twice, and is counted as `unsure_events`.
//! - *A wrong password, certificate, topic or right*: events are held, and the files are read again; new
//!   ones make a new producer.
//! - *A batch is refused* (too large for the topic, a bad record): it is sent again in halves until the
//!   refusal concerns one event, which goes to the dead letters. When all parts pass it was the batch, and
//!   batches become smaller.
//!
//! # Not here
//! GSSAPI; a proxy; a pin or another server name for TLS, which the library does not have. The password
//! is wiped in our memory; the library keeps a copy of its own.

mod access;
mod check;
pub mod config;
mod gauges;
mod journal;
mod meaning;
mod producer;
mod run;
mod sift;
mod signs;
mod tickets;
mod token;

pub use check::check;
pub use config::{Codec, KafkaConfig, Key, Mechanism};

use crate::ledger::Lane;
use crate::net::vitals::{Condition, Vitals};
use crate::sink::{Ack, Batch, FailureKind, Item, SendFailure, Sink};
use access::{Access, Means};
use gauges::Sums;
use hostward_event::encode::Form;
use hostward_event::redact::Redaction;
use hostward_event::{Event, registry};
use meaning::Meaning;
use producer::{BATCH_BYTES, Producer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode as Code;
use run::{Run, Setback, Watch};
use std::time::{Duration, Instant};
use tickets::{Fate, Tickets};

/// The library is looked after this often when no event comes: it has log lines, statistics and tokens.
const MAINTENANCE: Duration = Duration::from_secs(5);
/// While the library tries by itself, the sink looks again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// See the module.
pub struct KafkaSink {
    config: KafkaConfig,
    form: Form,
    /// What the key shows may be redacted: then there is none.
    key: Key,
    access: Access,
    line: Option<Line>,
    tickets: Tickets,
    vitals: Vitals,
    batch_bytes: usize,
    wants_new_producer: bool,
    maintain_at: Instant,
    record: Vec<u8>,
    /// Of producers that are gone.
    past: Sums,
    producers: u64,
    unsure_events: u64,
    split_batches: u64,
}

/// A producer and what it was made with.
struct Line {
    producer: Producer,
    means: Means,
}

/// Whether the library took a record.
enum Taken {
    Yes,
    /// Its memory is full.
    Full,
}

impl KafkaSink {
    /// Nothing is read and nothing connects before the first call.
    pub fn new(config: KafkaConfig, form: Form) -> Self {
        let redaction = Redaction::parse(&config.redact).unwrap_or_else(|_| Redaction::all());
        let field = config.key.field().and_then(registry::find);
        let is_hidden = field.is_some_and(|field| redaction.hides(field));
        Self {
            key: if is_hidden { Key::None } else { config.key },
            access: Access::new(&config),
            vitals: Vitals::new(config.name.clone()),
            config,
            form,
            line: None,
            tickets: Tickets::default(),
            batch_bytes: BATCH_BYTES,
            wants_new_producer: false,
            maintain_at: Instant::now(),
            record: Vec::new(),
            past: Sums::default(),
            producers: 0,
            unsure_events: 0,
            split_batches: 0,
        }
    }

    /// Has a producer that was made with the files and secrets as they are now.
    fn prepare(&mut self) -> Result<(), SendFailure> {
        let means = self.access.current().map_err(|failure| self.vitals.failed(&failure))?;
        if let Some(line) = &self.line {
            // One that works makes way between two batches; one that is refused at once.
            let is_idle = self.tickets.flying() == 0;
            let moved = self.wants_new_producer || self.access.has_moved(&line.means, &means);
            let is_refused = self.vitals.condition() == Condition::AuthFailed;
            if !(moved && is_idle || is_refused && line.means != means) {
                return Ok(());
            }
        }
        let producer = producer::make(&self.config, &means, self.batch_bytes).map_err(|failure| {
            let message = self.told(&format!("{failure}; {}", failure.hint()));
            self.vitals.failed_with(FailureKind::NeedsHelp, message, None)
        })?;
        self.retire(&mut Run::default());
        self.line = Some(Line { producer, means });
        self.producers += 1;
        self.wants_new_producer = false;
        Ok(())
    }

    /// Ends the producer. What it held and did not deliver is offered again.
    fn retire(&mut self, run: &mut Run) {
        if let Some(line) = self.line.take() {
            self.past = self.past.plus(line.producer.context().signs().gauges().sums);
            self.absorb(producer::end(line.producer), run);
        }
        self.tickets.forget_flying();
    }

    fn told(&self, what: &str) -> String {
        format!("kafka {}: {what}", self.config.brokers.join(","))
    }

    /// Hands over all events and waits until each has left the library.
    async fn convey(&mut self, batch: &Batch, run: &mut Run) -> Result<(), Setback> {
        let mut watch = Watch::start();
        let mut items = batch.items.iter().enumerate().peekable();
        loop {
            while let Some((slot, item)) = items.peek() {
                match self.offer(item, *slot, run)? {
                    Taken::Yes => items.next(),
                    Taken::Full => break,
                };
            }
            if items.peek().is_none() && run.open.is_empty() {
                return Ok(());
            }
            self.attend(&mut watch, run).await?;
        }
    }

    fn offer(&mut self, item: &Item, slot: usize, run: &mut Run) -> Result<Taken, Setback> {
        let id = item.event.id;
        match self.tickets.claim(id) {
            None => return self.hand_over(item, slot, run),
            Some(Fate::Delivered) => run.deliver(slot),
            Some(Fate::Suspect(code)) => run.suspects.push((slot, code)),
            Some(Fate::Flying) => {
                run.open.insert(id, slot);
            }
        }
        Ok(Taken::Yes)
    }

    /// Gives one record to the library.
    fn hand_over(&mut self, item: &Item, slot: usize, run: &mut Run) -> Result<Taken, Setback> {
        let Some(line) = &self.line else { return Ok(Taken::Full) };
        let event = item.event.as_ref();
        self.record.clear();
        self.form.encode(event, &mut self.record);
        let key = key(self.key, event);
        let id = event.id.to_string();
        let headers = headers(&self.form, item.lane, &id);
        let header_bytes: usize = headers.iter().map(|(key, value)| key.len() + value.len()).sum();
        let bytes = self.record.len() + key.as_ref().map_or(0, Vec::len) + header_bytes;
        if bytes > self.config.message_max_bytes {
            run.reject(slot, oversize(bytes, self.config.message_max_bytes));
            return Ok(Taken::Yes);
        }
        let mut record = BaseRecord::with_opaque_to(&self.config.topic, Box::new(event.id))
            .payload(self.record.as_slice())
            .headers(
                headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |all, (key, value)| {
                    all.insert(Header { key, value: Some(*value) })
                }),
            );
        record.key = key.as_deref();
        // Nothing and less would be the time of now.
        record.timestamp = Some(event.time_ns / 1_000_000).filter(|ms| *ms > 0);
        if self.tickets.flying() == 0 {
            line.producer.context().signs().awaken();
        }
        let code = match line.producer.send(record) {
            Ok(()) => {
                self.tickets.fly(event.id);
                run.open.insert(event.id, slot);
                return Ok(Taken::Yes);
            }
            Err((KafkaError::MessageProduction(Code::QueueFull), _)) => return Ok(Taken::Full),
            Err((error, _)) => error.rdkafka_error_code().unwrap_or(Code::Fail),
        };
        match meaning::of_report(code) {
            // The library counts its own overhead, too.
            Meaning::OnEvent => run.reject(slot, oversize(bytes, self.config.message_max_bytes)),
            Meaning::Held(kind) => return Err(Setback::Refused(kind, self.refusal(code))),
            Meaning::ProducerSpent => return Err(self.spent(code)),
        }
        Ok(Taken::Yes)
    }

    fn refusal(&self, code: Code) -> String {
        let topic = &self.config.topic;
        self.told(&format!("topic {topic}: {}; {}", describe(code), meaning::hint(code)))
    }

    fn spent(&self, code: Code) -> Setback {
        let fatal = self.line.as_ref().and_then(|line| line.producer.client().fatal_error());
        let (code, reason) = fatal.unwrap_or_else(|| (code, describe(code)));
        let reason = meaning::escaped(&reason);
        let message = format!("the producer ended: {reason}; a new one is made; {}", meaning::hint(code));
        Setback::Spent(meaning::kind(code), self.told(&message))
    }

    /// Waits a moment, which is where a call that is to be cut short is cut, and books what the library reports.
    async fn attend(&mut self, watch: &mut Watch, run: &mut Run) -> Result<(), Setback> {
        let progress_at = self.line.as_ref().and_then(|line| line.producer.context().signs().progress_at());
        tokio::time::sleep(watch.step(progress_at)).await;
        self.listen(run);
        if let Some(code) = run.refusal.take() {
            return Err(match meaning::of_report(code) {
                Meaning::ProducerSpent => self.spent(code),
                _ => Setback::Refused(meaning::kind(code), self.refusal(code)),
            });
        }
        self.examine(watch)
    }

    fn listen(&mut self, run: &mut Run) {
        let Some(line) = &self.line else { return };
        producer::listen(&line.producer);
        let reports = line.producer.context().signs().take_reports();
        self.absorb(reports, run);
    }

    fn absorb(&mut self, reports: Vec<signs::Report>, run: &mut Run) {
        for (id, result) in reports {
            self.tickets.forget(id);
            let slot = run.open.remove(&id);
            match (result, slot) {
                (Ok(()), Some(slot)) => run.deliver(slot),
                (Ok(()), None) => self.tickets.settle(id, Fate::Delivered),
                (Err(Code::PurgeInflight), _) => self.unsure_events += 1,
                (Err(Code::PurgeQueue), _) => {}
                (Err(code), slot) => match (meaning::of_report(code), slot) {
                    (Meaning::OnEvent, Some(slot)) => run.suspects.push((slot, code)),
                    (Meaning::OnEvent, None) => self.tickets.settle(id, Fate::Suspect(code)),
                    (Meaning::Held(_) | Meaning::ProducerSpent, _) => run.refusal = Some(code),
                },
            }
        }
    }

    /// Whether waiting goes on.
    fn examine(&self, watch: &Watch) -> Result<(), Setback> {
        let Some(line) = &self.line else { return Ok(()) };
        let mut signs = line.producer.context().signs();
        if signs.is_fatal() {
            drop(signs);
            return Err(self.spent(Code::Fatal));
        }
        let now = Instant::now();
        let waited = now.duration_since(watch.since(signs.progress_at()));
        if let Some(trouble) = signs.trouble(false).filter(|_| waited >= run::TROUBLE_LIMIT) {
            return Err(Setback::Told(trouble.kind, self.told(&trouble.message)));
        }
        if now.duration_since(signs.alive_at()) >= run::SILENCE_LIMIT {
            let message = "the library has said nothing for 120 s; a new producer is made".to_owned();
            return Err(Setback::Spent(FailureKind::Passing, self.told(&message)));
        }
        if waited >= run::REPORT_LIMIT {
            let cause = signs.cause().unwrap_or("the brokers are silent").to_owned();
            let message = format!("no delivery report within 10 s: {cause}; check the brokers' logs");
            return Err(Setback::Told(FailureKind::Passing, self.told(&message)));
        }
        Ok(())
    }

    fn conclude(&mut self, batch: &Batch, mut run: Run, outcome: Result<(), Setback>) -> Ack {
        if matches!(outcome, Err(Setback::Spent(..))) {
            self.retire(&mut run);
        }
        for (slot, code) in std::mem::take(&mut run.suspects) {
            if let Some(item) = batch.items.get(slot) {
                self.tickets.settle(item.event.id, Fate::Suspect(code));
            }
        }
        if run.rejected > 0 {
            self.vitals.rejected(run.rejected);
        }
        match outcome {
            Ok(()) => {
                self.vitals.acked();
                Ack::Each(run.verdicts(batch.len()))
            }
            Err(setback) => {
                let failure = self.set_back(setback);
                Ack::Partly(run.verdicts(batch.len()), failure)
            }
        }
    }

    fn set_back(&mut self, setback: Setback) -> SendFailure {
        let failure = match setback {
            Setback::Told(kind, message) => self.vitals.failed_for(kind, message, LOOK_AGAIN),
            Setback::Refused(kind, message) | Setback::Spent(kind, message) => {
                self.vitals.failed_with(kind, message, None)
            }
        };
        if failure.kind == FailureKind::NeedsHelp {
            self.access.forget();
        }
        failure
    }
}

impl Sink for KafkaSink {
    async fn send(&mut self, batch: &Batch) -> Result<Ack, SendFailure> {
        self.prepare()?;
        let mut run = Run::default();
        let mut outcome = self.convey(batch, &mut run).await;
        if outcome.is_ok() && !run.suspects.is_empty() {
            outcome = self.sift(batch, &mut run).await;
        }
        Ok(self.conclude(batch, run, outcome))
    }

    fn maintenance_due(&self) -> Option<Instant> {
        Some(self.maintain_at)
    }

    async fn maintain(&mut self) -> Result<(), SendFailure> {
        self.maintain_at = Instant::now() + MAINTENANCE;
        self.prepare()?;
        self.access.tell_insecure(&self.config.name);
        let mut run = Run::default();
        self.listen(&mut run);
        let is_idle = self.tickets.flying() == 0;
        let Some(line) = &self.line else { return Ok(()) };
        let mut signs = line.producer.context().signs();
        if signs.is_fatal() {
            drop(signs);
            let setback = self.spent(Code::Fatal);
            self.retire(&mut run);
            return Err(self.set_back(setback));
        }
        let trouble = signs.trouble(is_idle).cloned();
        drop(signs);
        match trouble {
            Some(trouble) => {
                let message = self.told(&trouble.message);
                Err(self.set_back(Setback::Told(trouble.kind, message)))
            }
            None => {
                if is_idle {
                    self.vitals.acked();
                }
                Ok(())
            }
        }
    }

    async fn close(&mut self) -> Result<(), SendFailure> {
        self.retire(&mut Run::default());
        Ok(())
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let gauges = self
            .line
            .as_ref()
            .map(|line| line.producer.context().signs().gauges().clone())
            .unwrap_or_default();
        let sums = self.past.plus(gauges.sums);
        let own = [
            ("producers", self.producers),
            ("unsure_events", self.unsure_events),
            ("split_batches", self.split_batches),
            ("batch_bytes_limit", u64::try_from(self.batch_bytes).unwrap_or(u64::MAX)),
            ("brokers_up", gauges.brokers_up),
            ("library_events", gauges.library_events),
            ("library_bytes", gauges.library_bytes),
            ("round_trip_p99_us", gauges.round_trip_p99_us),
            ("sent_bytes", sums.sent_bytes),
            ("connects", sums.connects),
            ("disconnects", sums.disconnects),
            ("request_retries", sums.request_retries),
            ("request_timeouts", sums.request_timeouts),
        ];
        [&own[..], &self.vitals.counters()].concat()
    }
}

fn key(key: Key, event: &Event) -> Option<Vec<u8>> {
    match key {
        Key::HostId => Some(event.around.host.machine_id.as_bytes().to_vec()).filter(|id| !id.is_empty()),
        Key::ProcessEntityId => event.process.as_ref().map(|it| it.entity_id.to_string().into_bytes()),
        Key::None => None,
    }
}

fn headers<'a>(form: &Form, lane: Lane, id: &'a str) -> [(&'static str, &'a str); 4] {
    let encoding = form.encoding();
    let lane = match lane {
        Lane::Alert => "alert",
        Lane::Telemetry => "telemetry",
    };
    [
        ("event.id", id),
        ("schema", encoding.schema()),
        ("lane", lane),
        ("content-type", encoding.content_type()),
    ]
}

fn oversize(bytes: usize, limit: usize) -> String {
    format!(
        "the record has {bytes} bytes, and message_max_bytes is {limit}; raise it, and the topic's max.message.bytes"
    )
}

/// The library's sentence without the name of its constant.
fn describe(code: Code) -> String {
    KafkaError::Global(code).to_string().trim_start_matches("Global error: ").to_owned()
}

#[cfg(test)]
mod tests;
