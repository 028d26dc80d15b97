//! Queues and drivers under sinks that are slow, flaky, rejecting, hanging or dying.

use crate::common::{alert, status, telemetry, wait};
use hostward_outputs::config::{QueueConfig, WhenFull};
use hostward_outputs::{Ack, Batch, FailureKind, Lane, Outputs, Reason, SendFailure, Sink, State, Verdict};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

type Log = Arc<Mutex<Vec<u64>>>;

fn small() -> QueueConfig {
    QueueConfig {
        max_events: 100,
        alert_reserve_events: 20,
        batch_events: 8,
        linger_ms: 0,
        ..QueueConfig::default()
    }
}

/// Blocks its thread while the gate is shut, as a write to a stopped terminal does.
struct Gated {
    gate: Arc<(Mutex<bool>, Condvar)>,
    log: Log,
}

impl Sink for Gated {
    async fn send(&mut self, batch: &Batch) -> Result<Ack, SendFailure> {
        let (open, changed) = &*self.gate;
        let _open = changed.wait_while(open.lock().unwrap(), |open| !*open).unwrap();
        self.log.lock().unwrap().extend(batch.events().map(|event| event.sequence));
        Ok(Ack::All)
    }
}

fn gated(outputs: &mut Outputs, config: QueueConfig) -> (Arc<(Mutex<bool>, Condvar)>, Log) {
    let (gate, log) = (Arc::new((Mutex::new(false), Condvar::new())), Log::default());
    let sink = Gated { gate: Arc::clone(&gate), log: Arc::clone(&log) };
    outputs.add("gated".into(), "test", config, None, || sink).unwrap();
    (gate, log)
}

fn open(gate: &(Mutex<bool>, Condvar)) {
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
}

#[test]
fn a_hanging_sink_delays_neither_the_pipeline_nor_another_sink() {
    let mut outputs = Outputs::new();
    let (gate, _) = gated(&mut outputs, small());
    let healthy = Log::default();
    let copy = Arc::clone(&healthy);
    let free = Arc::new((Mutex::new(true), Condvar::new()));
    let roomy = QueueConfig { linger_ms: 0, ..QueueConfig::default() };
    outputs.add("healthy".into(), "test", roomy, None, || Gated { gate: free, log: copy }).unwrap();

    let start = Instant::now();
    for sequence in 1..=5_000 {
        outputs.push(&telemetry(sequence));
    }
    assert!(start.elapsed() < Duration::from_secs(5), "pushing waited for a sink");
    let deadline = Instant::now() + Duration::from_secs(10);
    while healthy.lock().unwrap().len() < 5_000 {
        assert!(Instant::now() < deadline, "the healthy sink was held up");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(healthy.lock().unwrap().is_sorted(), "in the pipeline's order");
    let hanging = status(&outputs);
    assert_eq!(hanging.delivered, 0);
    assert!(hanging.queued + hanging.in_flight <= 80, "telemetry stays out of the alerts' room");

    // The end does not wait for the one that hangs, and says what it left.
    let start = Instant::now();
    let closed = outputs.close(Duration::from_millis(300));
    assert!(start.elapsed() < Duration::from_secs(2));
    let [hanging, healthy] = &closed[..] else { panic!() };
    assert_eq!(
        hanging.left,
        hanging.status.dropped.iter().filter(|d| d.reason == Reason::Shutdown).map(|d| d.events).sum::<u64>()
    );
    assert!(hanging.left > 0 && hanging.status.law_holds() && hanging.status.in_flight == 0);
    assert_eq!((healthy.left, healthy.status.delivered), (0, 5_000));

    // What a late call answers does not cook the closed books.
    open(&gate);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(status(&outputs).delivered, 0);
}

#[test]
fn a_call_that_hangs_is_told_after_two_seconds() {
    let mut outputs = Outputs::new();
    let (gate, _) = gated(&mut outputs, small());
    outputs.push(&telemetry(1));
    let stalled = wait(&outputs, "degraded", |status| status.health.state == State::Degraded);
    assert!(stalled.health.reason.contains("one write has taken"), "{}", stalled.health.reason);
    assert!(stalled.oldest_age_ms.unwrap() >= 2_000);
    open(&gate);
    wait(&outputs, "ok again", |status| status.health.state == State::Ok && status.delivered == 1);
}

#[test]
fn alerts_keep_their_room_and_displace_telemetry() {
    for when_full in [WhenFull::DropOldest, WhenFull::DropNewest] {
        let mut outputs = Outputs::new();
        let (gate, log) = gated(&mut outputs, QueueConfig { when_full, ..small() });
        outputs.push(&telemetry(1));
        wait(&outputs, "the sink hangs", |status| status.in_flight == 1);
        for sequence in 2..=1_000 {
            outputs.push(&telemetry(sequence));
        }
        assert_eq!(status(&outputs).queued, 79, "with the one in flight, 80 of 100");
        // 20 in the reserve, 79 more in telemetry's place, the last one in an alert's.
        for sequence in 2_001..=2_100 {
            outputs.push(&alert(sequence));
        }
        let full = status(&outputs);
        let lost = |lane, reason| {
            full.dropped
                .iter()
                .filter(|d| (d.lane, d.reason) == (lane, reason))
                .map(|d| d.events)
                .sum::<u64>()
        };
        assert_eq!(lost(Lane::Telemetry, Reason::QueueFull), 999);
        assert_eq!(lost(Lane::Alert, Reason::QueueFull), 1);
        open(&gate);
        wait(&outputs, "drained", |status| status.delivered == 100);
        let log = log.lock().unwrap();
        let alerts: Vec<u64> = log.iter().copied().filter(|sequence| *sequence > 2_000).collect();
        let expected: Vec<u64> = match when_full {
            WhenFull::DropOldest => (2_002..=2_100).collect(),
            WhenFull::DropNewest => (2_001..=2_099).collect(),
        };
        assert_eq!(alerts, expected);
        let told: u64 = outputs.take_losses().iter().map(|(_, range)| range.events).sum();
        assert_eq!(told, 1_000, "every loss is told once as part of a range");
    }
}

/// Fails as a whole, in part, per event, in turns.
struct Flaky {
    turn: u32,
    log: Log,
}

impl Sink for Flaky {
    async fn send(&mut self, batch: &Batch) -> Result<Ack, SendFailure> {
        self.turn += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut log = self.log.lock().unwrap();
        let failure = SendFailure {
            delivered: 0,
            kind: FailureKind::Passing,
            message: "down".into(),
            retry_after: Duration::from_millis(1),
        };
        match self.turn % 4 {
            0 => Err(failure),
            1 => {
                log.extend(batch.events().take(1).map(|event| event.sequence));
                Err(SendFailure { delivered: 1, ..failure })
            }
            2 => {
                let verdict = |sequence: u64| match sequence {
                    s if s % 10 == 0 => Verdict::Rejected(format!("no tens: {s}")),
                    s if s % 3 == 0 => Verdict::Retry,
                    _ => Verdict::Delivered,
                };
                let verdicts: Vec<_> = batch.events().map(|event| verdict(event.sequence)).collect();
                let done =
                    batch.events().zip(&verdicts).filter(|(_, verdict)| **verdict == Verdict::Delivered);
                log.extend(done.map(|(event, _)| event.sequence));
                Ok(Ack::Each(verdicts))
            }
            _ => {
                log.extend(batch.events().map(|event| event.sequence));
                Ok(Ack::All)
            }
        }
    }
}

#[test]
fn a_flaky_sink_gets_every_event_once_and_the_law_holds_at_every_moment() {
    let mut outputs = Outputs::new();
    let log = Log::default();
    let sink = Flaky { turn: 0, log: Arc::clone(&log) };
    let config = QueueConfig { batch_events: 16, linger_ms: 0, ..QueueConfig::default() };
    outputs.add("flaky".into(), "test", config, None, || sink).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut readings = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                status(&outputs);
                readings += 1;
            }
            readings
        });
        for sequence in 1..=3_000 {
            outputs.push(&if sequence % 7 == 0 { alert(sequence) } else { telemetry(sequence) });
        }
        wait(&outputs, "all settled", |status| status.queued + status.in_flight == 0);
        stop.store(true, Ordering::Relaxed);
        assert!(sampler.join().unwrap() > 100);
    });
    let end = status(&outputs);
    let rejected = end.dropped_events();
    assert!(end.dropped.iter().all(|dropped| dropped.reason == Reason::Rejected) && rejected > 0);
    let mut log = log.lock().unwrap();
    log.sort_unstable();
    let unique = {
        let mut log = log.clone();
        log.dedup();
        log.len()
    };
    assert_eq!(log.len(), unique, "nothing came twice");
    assert_eq!(u64::try_from(unique).unwrap() + rejected, 3_000);
    assert!(
        end.last_error.is_some_and(|error| error.message == "down" || error.message.starts_with("no tens"))
    );
}

struct Dying;

impl Sink for Dying {
    async fn send(&mut self, _: &Batch) -> Result<Ack, SendFailure> {
        panic!("a bug");
    }
}

#[test]
fn a_sink_that_dies_is_failed_and_what_it_is_offered_is_counted() {
    let mut outputs = Outputs::new();
    outputs.add("dying".into(), "test", small(), None, || Dying).unwrap();
    outputs.push(&telemetry(1));
    wait(&outputs, "failed", |status| status.health.state == State::Failed);
    outputs.push(&alert(2));
    let end = outputs.close(Duration::from_secs(5)).remove(0).status;
    assert!(end.law_holds());
    assert_eq!(
        end.dropped.iter().map(|d| (d.lane, d.reason, d.events)).collect::<Vec<_>>(),
        [(Lane::Alert, Reason::SinkDied, 1), (Lane::Telemetry, Reason::SinkDied, 1)]
    );
}

#[test]
fn a_filter_and_the_bounds_by_bytes() {
    let mut outputs = Outputs::new();
    let gate = Arc::new((Mutex::new(true), Condvar::new()));
    let sink = Gated { gate, log: Log::default() };
    let config = QueueConfig {
        max_bytes: 65_536,
        alert_reserve_bytes: 8_192,
        batch_bytes: 4_096,
        ..QueueConfig::default()
    };
    let even: hostward_outputs::Filter = Arc::new(|event| event.sequence % 2 == 0);
    outputs.add("even".into(), "test", config, Some(even), || sink).unwrap();
    for sequence in 1..=10 {
        outputs.push(&telemetry(sequence));
    }
    outputs.push(&crate::common::telemetry_of(12, 200_000));
    let end = wait(&outputs, "delivered", |status| status.delivered == 5);
    assert_eq!((end.accepted, end.filtered, end.held_bytes), (6, 5, 0));
    assert_eq!(end.dropped.first().map(|d| (d.reason, d.events)), Some((Reason::Oversize, 1)));
    assert_eq!(end.health.state, State::Degraded, "a loss shows for a minute");
}
