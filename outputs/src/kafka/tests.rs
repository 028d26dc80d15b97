//! What only the inside can show: time that passes.

use super::*;
use crate::sink::Verdict;
use hostward_event::encode::Encoding;
use hostward_event::event::{Body, Surroundings};
use hostward_event::{EventKind, IdMint};
use rdkafka::mocking::MockCluster;
use std::sync::Arc;

fn batch(sequence: u64) -> Batch {
    let event = Event {
        id: IdMint::new("m", "b").event(EventKind::Fork, 0, sequence, 0),
        sequence,
        time_ns: 0,
        created_ns: 0,
        source: None,
        tid: 0,
        process: None,
        lineage: Arc::default(),
        session_leader: None,
        around: Arc::new(Surroundings::default()),
        body: Body::Fork,
        partial: false,
        program: None,
        inside: None,
        domain: None,
        alert: None,
    };
    let item = Item { event: Arc::new(event), lane: Lane::Telemetry, bytes: 1, queued_at: Instant::now() };
    Batch { items: vec![item] }
}

#[test]
fn a_library_that_is_silent_for_two_minutes_is_replaced_and_says_what_may_be_there_twice() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("hostward", 1, 1).unwrap();
    let config = KafkaConfig { brokers: vec![cluster.bootstrap_servers()], ..KafkaConfig::default() };
    let mut sink = KafkaSink::new(config, Form::new(Encoding::Ecs));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        assert_eq!(sink.send(&batch(1)).await, Ok(Ack::Each(vec![Verdict::Delivered])));
        // The connection stands, and no reply comes.
        cluster.broker_round_trip_time(-1, Duration::from_secs(3_600)).unwrap();
        let cut = tokio::time::timeout(Duration::from_secs(1), sink.send(&batch(2))).await;
        assert!(cut.is_err(), "a call that waits can be cut short: {cut:?}");
        assert_eq!(sink.tickets.flying(), 1);

        sink.line.as_ref().unwrap().producer.context().signs().age(run::SILENCE_LIMIT);
        let Ok(Ack::Partly(verdicts, failure)) = sink.send(&batch(2)).await else { panic!() };
        assert_eq!(verdicts, [Verdict::Retry]);
        assert!(failure.message.contains("said nothing for 120 s"), "{}", failure.message);
        assert_eq!((sink.tickets.flying(), sink.unsure_events, sink.producers), (0, 1, 1));

        cluster.broker_round_trip_time(-1, Duration::ZERO).unwrap();
        assert_eq!(sink.send(&batch(2)).await, Ok(Ack::Each(vec![Verdict::Delivered])));
        assert_eq!(sink.producers, 2);
    });
}
