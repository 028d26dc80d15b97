//! The stdout sink on real pipes.

use crate::common::{alert, status, telemetry, telemetry_of, wait};
use hostward_event::encode;
use hostward_outputs::config::QueueConfig;
use hostward_outputs::stdout::StdoutSink;
use hostward_outputs::{Outputs, Reason, State};
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

fn piped(config: QueueConfig) -> (Outputs, std::io::PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut outputs = Outputs::new();
    let make = || StdoutSink::to(Arc::new(encode::ecs), writer.into());
    outputs.add("stdout".into(), "stdout", config, None, make).unwrap();
    (outputs, reader)
}

#[test]
fn lines_come_whole_and_in_order() {
    let (outputs, mut reader) = piped(QueueConfig::default());
    for sequence in 1..=500 {
        outputs.push(&if sequence % 50 == 0 { alert(sequence) } else { telemetry_of(sequence, 2_000) });
    }
    let read = std::thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all
    });
    let closed = outputs.close(Duration::from_secs(10)).remove(0);
    assert_eq!((closed.left, closed.status.delivered), (0, 500));
    let mut sequences = crate::common::sequences(&read.join().unwrap());
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=500).collect::<Vec<_>>());
}

#[test]
fn a_closed_pipe_ends_the_sink_quietly() {
    let (outputs, reader) = piped(QueueConfig { linger_ms: 0, ..QueueConfig::default() });
    outputs.push(&telemetry(1));
    wait(&outputs, "the first line", |status| status.delivered == 1);
    drop(reader);
    outputs.push(&telemetry(2));
    let ended = wait(&outputs, "the end", |status| status.health.state == State::Ended);
    assert_eq!(ended.health.reason, "standard output: the reader closed it");
    assert_eq!(ended.dropped.first().map(|d| (d.reason, d.events)), Some((Reason::SinkEnded, 1)));
    outputs.push(&telemetry(3));
    assert_eq!(status(&outputs).accepted, 2, "an ended sink takes no more");
    assert_eq!(outputs.close(Duration::from_secs(5)).remove(0).left, 0);
}

#[test]
fn a_reader_that_stops_reading_costs_a_bounded_queue_and_not_the_end() {
    let (outputs, mut reader) = piped(QueueConfig {
        max_events: 200,
        alert_reserve_events: 50,
        batch_events: 20,
        linger_ms: 0,
        ..QueueConfig::default()
    });
    for sequence in 1..=2_000 {
        outputs.push(&telemetry_of(sequence, 1_000));
    }
    for sequence in 2_001..=2_010 {
        outputs.push(&alert(sequence));
    }
    let stuck = wait(&outputs, "a write hangs", |status| status.in_flight > 0 && status.dropped_events() > 0);
    assert!(stuck.queued + stuck.in_flight <= 200);
    // The reader comes back: the alerts are there.
    let read = std::thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all
    });
    let closed = outputs.close(Duration::from_secs(10)).remove(0);
    assert_eq!(closed.left, 0);
    let sequences = crate::common::sequences(&read.join().unwrap());
    assert_eq!(u64::try_from(sequences.len()).unwrap(), closed.status.delivered);
    assert!((2_001..=2_010).all(|sequence| sequences.contains(&sequence)));
}
