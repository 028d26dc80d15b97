//! Events through the spool to a sink, and what the sink's answers do.

use crate::common::{alert, recorded, status, telemetry, wait};
use crate::tools::{Door, GRACE, Seen, append, config, names, now, quick, until};
use hostward_event::Event;
use hostward_outputs::config::{Config, FileConfig};
use hostward_outputs::spool::{OpenFailure, Spool, SpoolConfig};
use hostward_outputs::{
    Ack, Batch, FailureKind, Lane, Outputs, SendFailure, Sink, SinkSpec, StartFailure, State, Verdict,
};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn start_file(dir: &Path) -> Outputs {
    let file = FileConfig { path: dir.join("out/events.jsonl"), queue: quick(), ..FileConfig::default() };
    let spec = SinkSpec { config: Config::File(file), filter: None };
    Outputs::start_spooled(vec![spec], &config(dir)).unwrap()
}

fn start<S: Sink>(dir: &Path, make: impl FnOnce() -> S + Send + 'static) -> Outputs {
    let spool = Spool::open(&config(dir), &names(&["dest"])).unwrap();
    let mut outputs = Outputs::with_spool(Arc::new(spool));
    outputs.add("dest".into(), "test", quick(), None, make).unwrap();
    outputs
}

#[test]
fn a_file_gets_every_event_once_over_clean_restarts_and_the_books_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut sequence = 0;
    for round in 1..=4 {
        let outputs = start_file(dir.path());
        let before = status(&outputs);
        assert_eq!((before.accepted, before.delivered), (sequence, sequence), "round {round}");
        for n in 0..500 {
            sequence += 1;
            outputs.push(&now(if n % 50 == 0 { alert(sequence) } else { telemetry(sequence) }));
        }
        if round % 2 == 0 {
            wait(&outputs, "delivered", |status| status.delivered == sequence);
        }
        // Else the end delivers what waits.
        let closed = outputs.close(Duration::from_secs(30)).remove(0);
        assert_eq!((closed.left, closed.kept), (0, true), "{closed:#?}");
        assert_eq!(closed.status.delivered, sequence);
        assert!(closed.status.law_holds());
    }
    assert_eq!(recorded(&dir.path().join("out")), (1..=2_000).collect::<Vec<_>>());
}

#[test]
fn a_lone_event_of_either_lane_arrives_without_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let outputs = start_file(dir.path());
    for sequence in 1..=6 {
        outputs.push(&now(if sequence % 2 == 0 { alert(sequence) } else { telemetry(sequence) }));
        wait(&outputs, "delivered", |status| status.delivered == sequence);
    }
    // The last is durable, too, a moment later.
    let spool = Arc::clone(outputs.spool().unwrap());
    until("durable", || (spool.durable_seq(Lane::Alert) == 4).then_some(()));
}

#[test]
fn what_a_sink_did_not_take_waits_for_the_next_start_alerts_first() {
    let dir = tempfile::tempdir().unwrap();
    let shut = Arc::new(AtomicBool::new(false));
    let outputs = start(dir.path(), move || Door { open: shut, seen: Seen::default() });
    for sequence in 1..=300 {
        outputs.push(&now(if sequence % 100 == 0 { alert(sequence) } else { telemetry(sequence) }));
    }
    wait(&outputs, "it fails", |status| status.health.state == State::Degraded && status.failed_sends > 2);
    let closed = outputs.close(Duration::from_secs(20)).remove(0);
    assert_eq!((closed.left, closed.kept, closed.status.queued), (300, true, 300), "{closed:#?}");
    drop(outputs);

    let seen = Seen::default();
    let (open, copy) = (Arc::new(AtomicBool::new(true)), Arc::clone(&seen));
    let outputs = start(dir.path(), move || Door { open, seen: copy });
    let end = wait(&outputs, "delivered", |status| status.delivered == 300);
    assert_eq!((end.accepted, end.dropped_events()), (300, 0));
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen[..3], [(true, 100), (true, 200), (true, 300)]);
    let telemetry: Vec<u64> = seen[3..].iter().map(|(_, sequence)| *sequence).collect();
    assert_eq!(telemetry, (1..300).filter(|sequence| sequence % 100 != 0).collect::<Vec<_>>(), "in order");
}

/// Refuses multiples of ten for good, and at first takes every other event only, saying that it is busy.
struct Picky {
    tries: u32,
    seen: Arc<Mutex<Vec<u64>>>,
}

impl Sink for Picky {
    async fn send(&mut self, batch: &Batch) -> Result<Ack, SendFailure> {
        self.tries += 1;
        let busy = self.tries <= 5;
        let mut seen = self.seen.lock().unwrap();
        let verdicts = batch
            .events()
            .map(|event| match event.sequence {
                sequence if sequence % 10 == 0 => Verdict::Rejected("mapper: \"no\"\n".to_owned()),
                sequence if busy && sequence % 2 == 0 => Verdict::Retry,
                sequence => {
                    seen.push(sequence);
                    Verdict::Delivered
                }
            })
            .collect();
        if busy {
            let failure = SendFailure::new(FailureKind::Passing, "429".to_owned());
            Ok(Ack::Partly(verdicts, SendFailure { retry_after: Duration::from_millis(10), ..failure }))
        } else {
            Ok(Ack::Each(verdicts))
        }
    }
}

#[test]
fn each_verdict_is_honoured_and_refused_events_become_dead_letters() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let copy = Arc::clone(&seen);
    let outputs = start(dir.path(), move || Picky { tries: 0, seen: copy });
    for sequence in 1..=200 {
        outputs.push(&now(telemetry(sequence)));
    }
    let end = wait(&outputs, "settled", |status| status.delivered + status.dlq == 200);
    assert_eq!((end.delivered, end.dlq, end.dropped_events()), (180, 20, 0), "{end:#?}");
    assert!(end.failed_sends >= 1, "a partial answer that says why to wait is a failure");
    assert!(end.last_error.is_some());
    let mut seen = seen.lock().unwrap().clone();
    seen.sort_unstable();
    assert_eq!(seen, (1..=200).filter(|sequence| sequence % 10 != 0).collect::<Vec<_>>(), "each once");
    outputs.close(Duration::from_secs(10));

    let mut refused = Vec::new();
    for entry in std::fs::read_dir(dir.path().join("spool/dlq/dest")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for line in text.lines() {
            let letter: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(
                (&letter["lane"], &letter["reason"]),
                (&"telemetry".into(), &"mapper: \"no\"\n".into())
            );
            assert_eq!(letter["event_id"], letter["event"]["event"]["id"]);
            assert!(letter["time_ms"].is_u64() && letter["seq"].is_u64() && letter["event_time_ns"].is_u64());
            refused.push(letter["event"]["event"]["sequence"].as_u64().unwrap());
        }
    }
    refused.sort_unstable();
    assert_eq!(refused, (1..=20).map(|n| n * 10).collect::<Vec<_>>());
}

#[test]
fn refused_events_wait_while_their_dead_letters_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let outputs = start(dir.path(), || Picky { tries: 100, seen: Arc::default() });
    let in_the_way = dir.path().join("spool/dlq");
    std::fs::write(&in_the_way, b"").unwrap();
    outputs.push(&now(telemetry(9)));
    outputs.push(&now(telemetry(10)));
    let stuck = wait(&outputs, "it says so", |status| status.failed_sends > 0 && status.delivered == 1);
    assert_eq!((stuck.dlq, stuck.dropped_events()), (0, 0));
    assert!(stuck.health.reason.contains("dead letters cannot be written"), "{}", stuck.health.reason);
    std::fs::remove_file(in_the_way).unwrap();
    wait(&outputs, "written", |status| status.dlq == 1 && status.health.state == State::Ok);
}

#[test]
fn an_old_backlog_is_held_back_at_the_start_but_its_alerts_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let shut = Arc::new(AtomicBool::new(false));
    let outputs = start(dir.path(), move || Door { open: shut, seen: Seen::default() });
    // As of 1970.
    for sequence in 1..=40 {
        outputs.push(&if sequence % 20 == 0 { alert(sequence) } else { telemetry(sequence) });
    }
    outputs.close(Duration::from_secs(20));
    drop(outputs);

    let patient = SpoolConfig { replay_jitter_ms: 600_000, ..config(dir.path()) };
    let mut outputs = Outputs::with_spool(Arc::new(Spool::open(&patient, &names(&["dest"])).unwrap()));
    let seen = Seen::default();
    let (open, copy) = (Arc::new(AtomicBool::new(true)), Arc::clone(&seen));
    outputs.add("dest".into(), "test", quick(), None, move || Door { open, seen: copy }).unwrap();
    let held = wait(&outputs, "the alerts are there", |status| status.delivered >= 2);
    assert_eq!((held.delivered, held.queued), (2, 38));
    assert_eq!(*seen.lock().unwrap(), [(true, 20), (true, 40)]);
    // A new alert does not wait for the rest, and the end does not either.
    outputs.push(&now(alert(41)));
    wait(&outputs, "the new alert is there", |status| status.delivered == 3);
    assert_eq!(outputs.close(Duration::from_secs(30)).remove(0).left, 38);
}

#[test]
fn a_record_that_nobody_can_decode_is_a_dead_letter_and_does_not_stop_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Seen::default();
    let (open, copy) = (Arc::new(AtomicBool::new(true)), Arc::clone(&seen));
    let outputs = start(dir.path(), move || Door { open, seen: copy });
    let spool = Arc::clone(outputs.spool().unwrap());
    append(&spool, Lane::Telemetry, &["dest"], 1, b"\x09what a newer agent wrote").unwrap();
    outputs.push(&now(telemetry(1)));
    let end = wait(&outputs, "settled", |status| status.delivered + status.dlq == 2);
    assert_eq!((end.delivered, end.dlq), (1, 1));
    let entry = std::fs::read_dir(dir.path().join("spool/dlq/dest")).unwrap().next().unwrap().unwrap();
    let letter: serde_json::Value =
        serde_json::from_str(std::fs::read_to_string(entry.path()).unwrap().trim()).unwrap();
    assert!(letter["record_hex"].as_str().unwrap().starts_with("0977686174"));
    assert!(letter["reason"].as_str().unwrap().contains("version"), "{letter}");
}

/// Calls end when the test says so, and as it says. Tells `(first, last)` of each batch that it took.
struct Gate {
    answers: tokio::sync::mpsc::UnboundedReceiver<bool>,
    took: Arc<Mutex<Vec<Vec<u64>>>>,
}

impl Sink for Gate {
    async fn send(&mut self, batch: &Batch) -> Result<Ack, SendFailure> {
        if self.answers.recv().await != Some(true) {
            let failure = SendFailure::new(FailureKind::Passing, "busy".to_owned());
            return Err(SendFailure { retry_after: Duration::from_millis(5), ..failure });
        }
        self.took.lock().unwrap().push(batch.events().map(|event| event.sequence).collect());
        Ok(Ack::All)
    }
}

#[test]
fn the_next_batch_is_made_ready_meanwhile_and_neither_an_alert_nor_a_failure_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (answer, answers) = tokio::sync::mpsc::unbounded_channel();
    let took = Arc::new(Mutex::new(Vec::new()));
    let copy = Arc::clone(&took);
    let outputs = start(dir.path(), move || Gate { answers, took: copy });
    let size = u64::try_from(quick().batch_events).unwrap();
    let batches = || took.lock().unwrap().clone();
    let telemetry_of = |from: u64, to: u64| (from..=to).collect::<Vec<u64>>();

    // One event flies alone; three batches wait behind it.
    outputs.push(&now(telemetry(1)));
    wait(&outputs, "the first flies", |status| status.in_flight == 1);
    (2..=3 * size + 1).for_each(|sequence| outputs.push(&now(telemetry(sequence))));
    wait(&outputs, "all are there", |status| status.queued == 3 * size);
    // What the lane's writer still has cannot be made ready.
    let spool = Arc::clone(outputs.spool().unwrap());
    until("all are written", || (spool.durable_seq(Lane::Telemetry) == 3 * size + 2).then_some(()));
    answer.send(true).unwrap();
    wait(&outputs, "one flies and one is ready", |status| status.in_flight == 2 * size);
    outputs.push(&now(alert(9_000)));
    wait(&outputs, "the alert is there", |status| status.queued == size + 1);
    answer.send(true).unwrap();
    answer.send(true).unwrap();
    until("the alert", || (batches().len() == 3).then_some(()));
    assert_eq!(batches(), [vec![1], telemetry_of(2, size + 1), vec![9_000]]);

    // What was made ready goes back when the call beside it fails.
    wait(&outputs, "the next is ready again", |status| status.in_flight == 2 * size);
    answer.send(false).unwrap();
    wait(&outputs, "one try flies alone", |status| status.failed_sends == 1 && status.in_flight == size);
    (0..100).for_each(|_| answer.send(true).unwrap());
    let end = wait(&outputs, "all", |status| status.delivered == 3 * size + 2);
    assert_eq!((end.queued, end.in_flight, end.dropped_events(), end.dlq), (0, 0, 0, 0));
    assert_eq!(batches().split_off(3).concat(), telemetry_of(size + 2, 3 * size + 1), "in order, each once");
}

/// Says which events it was given: where each lies in memory, and what it is.
struct Witness {
    answers: tokio::sync::mpsc::UnboundedReceiver<bool>,
    given: Arc<Mutex<Vec<(usize, Event)>>>,
}

impl Sink for Witness {
    async fn send(&mut self, batch: &Batch) -> Result<Ack, SendFailure> {
        let given = batch.events().map(|event| (std::ptr::from_ref(event).addr(), event.clone()));
        self.given.lock().unwrap().extend(given);
        if self.answers.recv().await == Some(true) {
            return Ok(Ack::All);
        }
        let failure = SendFailure::new(FailureKind::Passing, "busy".to_owned());
        Err(SendFailure { retry_after: Duration::from_millis(5), ..failure })
    }
}

#[test]
fn a_sink_that_keeps_up_is_given_the_event_itself_and_one_that_fails_an_equal_one() {
    let dir = tempfile::tempdir().unwrap();
    let (answer, answers) = tokio::sync::mpsc::unbounded_channel();
    let given = Arc::new(Mutex::new(Vec::new()));
    let copy = Arc::clone(&given);
    let outputs = start(dir.path(), move || Witness { answers, given: copy });
    let nth = |index: usize| {
        until("an event", || {
            let given: std::sync::MutexGuard<'_, Vec<(usize, Event)>> = given.lock().unwrap();
            given.get(index).cloned()
        })
    };
    let is = |given: &(usize, Event), event: &Arc<Event>| given.0 == std::ptr::from_ref(&**event).addr();
    // One may be read before the thread that pushes it comes to keep it, on a busy machine.
    let mut sequence = 0;
    let itself = (0..100).any(|index| {
        sequence += 1;
        let event = now(if index % 2 == 0 { alert(sequence) } else { telemetry(sequence) });
        outputs.push(&event);
        let given = nth(index);
        answer.send(true).unwrap();
        is(&given, &event)
    });
    assert!(itself, "{sequence} events were all made again");

    // One is tried again, and another comes while the destination fails.
    let before = usize::try_from(sequence).unwrap();
    let events = [telemetry(sequence + 1), telemetry(sequence + 2)].map(now);
    outputs.push(&events[0]);
    nth(before);
    answer.send(false).unwrap();
    let again = nth(before + 1);
    outputs.push(&events[1]);
    answer.send(false).unwrap();
    (0..10).for_each(|_| answer.send(true).unwrap());
    wait(&outputs, "all", |status| status.delivered == sequence + 2);
    let last = given.lock().unwrap().last().cloned().unwrap();
    assert!(!is(&last, &events[1]), "an event was kept for a sink that fails");
    // What an event does not use of the host's names stays behind.
    let ecs = |event: &Event| {
        let mut out = Vec::new();
        hostward_event::encode::ecs(event, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!([ecs(&again.1), ecs(&last.1)], [ecs(&events[0]), ecs(&events[1])]);
}

struct Dying;

impl Sink for Dying {
    async fn send(&mut self, _: &Batch) -> Result<Ack, SendFailure> {
        panic!("a sink's bug")
    }
}

#[test]
fn a_sink_that_dies_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let outputs = start(dir.path(), || Dying);
    outputs.push(&now(telemetry(1)));
    wait(&outputs, "it died", |status| status.health.state == State::Failed);
    outputs.push(&now(alert(2)));
    let waits = wait(&outputs, "waiting", |status| status.queued == 2);
    assert_eq!((waits.dropped_events(), waits.in_flight), (0, 0));
    assert_eq!(outputs.close(Duration::from_secs(10)).remove(0).left, 2);
}

/// Went away for good, as a closed pipe does.
struct Gone;

impl Sink for Gone {
    async fn send(&mut self, _: &Batch) -> Result<Ack, SendFailure> {
        Err(SendFailure::new(FailureKind::Ended, "the reader closed the pipe".to_owned()))
    }
}

#[test]
fn a_destination_that_is_gone_for_good_holds_no_disk() {
    let dir = tempfile::tempdir().unwrap();
    let outputs = start(dir.path(), || Gone);
    for sequence in 1..=50 {
        outputs.push(&now(telemetry(sequence)));
    }
    let end = wait(&outputs, "all is told", |status| status.dropped_events() == 50);
    assert_eq!(end.health.state, State::Ended);
    assert!(end.dropped.iter().all(|dropped| dropped.reason == hostward_outputs::Reason::SinkEnded));
}

#[test]
fn a_spool_that_is_held_or_asked_for_too_much_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let first = Spool::open(&config(dir.path()), &names(&["dest"])).unwrap();
    match Spool::open(&config(dir.path()), &names(&["dest"])).err().unwrap() {
        OpenFailure::Held { pid, .. } => assert_eq!(pid, std::process::id().to_string()),
        other => panic!("{other}"),
    }
    assert!(first.close(GRACE));
    drop(first);
    drop(Spool::open(&config(dir.path()), &names(&["dest"])).unwrap());

    let spec = |n: u32| {
        let path = dir.path().join(format!("{n}.jsonl"));
        let file = FileConfig { name: format!("f{n}"), path, ..FileConfig::default() };
        SinkSpec { config: Config::File(file), filter: None }
    };
    let failure = Outputs::start_spooled((0..13).map(spec).collect(), &config(dir.path())).err().unwrap();
    assert!(matches!(failure, StartFailure::Spool(OpenFailure::TooManySinks { sinks: 13, .. })), "{failure}");
    assert!(failure.to_string().contains("13 sinks, and it serves 12"), "{failure}");
}
