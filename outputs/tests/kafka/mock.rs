//! Errors of brokers, one after another, by librdkafka's mock cluster.

use crate::feed::{Count, Feed, id};
use crate::reader::{count, read};
use hostward_outputs::{Reason, State};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Err};
use std::time::{Duration, Instant};

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster(brokers: i32) -> Cluster {
    let cluster = MockCluster::new(brokers).unwrap();
    cluster.create_topic("hostward", 4, brokers).unwrap();
    cluster
}

fn feed(cluster: &Cluster, keys: &str) -> Feed {
    let brokers: Vec<_> = cluster.bootstrap_servers().split(',').map(|one| format!("{one:?}")).collect();
    Feed::start("kafka", &format!("brokers = [{}]\n{keys}", brokers.join(",")))
}

fn read_back(cluster: &Cluster, feed: &Feed) -> Count {
    count(feed, &read(&cluster.bootstrap_servers(), "hostward"))
}

#[test]
fn a_record_has_its_key_headers_and_time() {
    let cluster = cluster(1);
    let feed = feed(&cluster, "");
    feed.send(20, 100);
    feed.wait_delivered();
    let records = read(&cluster.bootstrap_servers(), "hostward");
    assert_eq!(count(&feed, &records), Count::once(20));
    let mut in_order = (1..=20).map(|n| id(n).to_string());
    for record in &records {
        assert_eq!(record.key.as_deref(), Some(&b"machine-1"[..]));
        assert_eq!(record.partition, records[0].partition, "one key, one partition");
        assert_eq!(record.time_ms, feed.time_ms);
        let headers: Vec<_> =
            record.headers.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let id = in_order.next().unwrap();
        assert_eq!(
            headers,
            [
                ("content-type", "application/json"),
                ("event.id", id.as_str()),
                ("lane", "telemetry"),
                ("schema", "ecs/9.4.0")
            ]
        );
        let value: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
        assert_eq!(value["event"]["id"], id);
    }
}

#[test]
fn the_process_as_key_spreads_a_host_and_a_redacted_key_is_none() {
    let cluster = cluster(1);
    let by_process = feed(&cluster, "key = \"process.entity_id\"");
    by_process.send(200, 10);
    by_process.wait_delivered();
    let records = read(&cluster.bootstrap_servers(), "hostward");
    let keys: std::collections::BTreeSet<_> =
        records.iter().map(|record| record.key.clone().unwrap()).collect();
    let pairs: std::collections::BTreeSet<_> =
        records.iter().map(|record| (record.key.clone().unwrap(), record.partition)).collect();
    assert_eq!((keys.len(), pairs.len()), (5, 5), "each process stays in one partition");
    // Where Java's client puts them, too: murmur2 of the key.
    for (key, partition) in pairs {
        assert_eq!(partition, i32::try_from(murmur2(&key) % 4).unwrap());
    }

    cluster.create_topic("other", 1, 1).unwrap();
    let redacted = feed(&cluster, "topic = \"other\"\nredact = [\"host.id\"]");
    redacted.send(5, 10);
    redacted.wait_delivered();
    let records = read(&cluster.bootstrap_servers(), "other");
    assert!(records.iter().all(|record| record.key.is_none()), "{records:?}");
    let text = records.iter().map(|record| String::from_utf8_lossy(&record.value).into_owned());
    assert!(!text.collect::<String>().contains("machine-1"));
}

/// org.apache.kafka.common.utils.Utils.murmur2, made positive.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ u32::try_from(data.len()).unwrap();
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes(chunk.try_into().unwrap()).wrapping_mul(M);
        k = (k ^ k >> 24).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (at, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    (hash ^ hash >> 15) & 0x7fff_ffff
}

#[test]
fn errors_that_pass_lose_nothing_and_double_nothing() {
    let cluster = cluster(3);
    let feed = feed(&cluster, "key = \"none\"");
    let errors = [
        Err::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        Err::RD_KAFKA_RESP_ERR__TRANSPORT,
        Err::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        Err::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        Err::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        Err::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
        Err::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
    ];
    for round in 0..20 {
        if round % 4 == 1 {
            cluster.request_errors(Api::Produce, &errors);
        }
        feed.send(100, 200);
        std::thread::sleep(Duration::from_millis(50));
    }
    feed.wait_delivered();
    assert_eq!(read_back(&cluster, &feed), Count::once(2_000));
    assert_eq!((feed.counter("producers"), feed.counter("unsure_events")), (1, 0));
}

#[test]
fn an_outage_holds_is_told_and_ends_with_every_event_once() {
    let cluster = cluster(1);
    let feed = feed(&cluster, "");
    feed.send(100, 200);
    feed.wait_delivered();
    cluster.broker_down(-1).unwrap();
    feed.send(500, 200);
    let status = feed.wait("the outage is told", |status| status.health.state == State::Degraded);
    let reason = &status.health.reason;
    assert!(reason.contains("no broker can be reached") && reason.contains("127.0.0.1"), "{reason}");
    feed.send(500, 200);
    cluster.broker_up(-1).unwrap();
    let status = feed.wait_delivered();
    assert_eq!(read_back(&cluster, &feed), Count::once(1_100));
    assert_eq!(feed.counter("producers"), 1, "the library finds back by itself");
    assert_eq!((status.dropped_events(), feed.counter("unsure_events")), (0, 0));
    feed.wait("it is well again", |status| status.health.state == State::Ok);
}

#[test]
fn a_missing_right_holds_and_is_an_alarm_until_it_is_there() {
    let cluster = cluster(1);
    let feed = feed(&cluster, "");
    cluster.request_errors(Api::Produce, &[Err::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 1_000]);
    feed.send(200, 100);
    let status = feed.wait("it is an alarm", |status| status.health.state == State::Failed);
    assert!(status.health.reason.contains("let the user write to the topic"), "{}", status.health.reason);
    feed.send(100, 100);
    assert_eq!(feed.status().dropped_events(), 0);
    cluster.clear_request_errors(Api::Produce);
    feed.wait_delivered();
    assert_eq!(read_back(&cluster, &feed), Count::once(300));
}

#[test]
fn a_fatal_error_makes_a_new_producer() {
    let cluster = cluster(1);
    cluster.request_errors(Api::InitProducerId, &[Err::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED; 3]);
    let feed = feed(&cluster, "");
    feed.send(100, 100);
    let status = feed.wait("it is an alarm", |status| status.health.state == State::Failed);
    assert!(status.health.reason.contains("IdempotentWrite"), "{}", status.health.reason);
    feed.wait_delivered();
    assert_eq!(read_back(&cluster, &feed), Count::once(100));
    assert!(feed.counter("producers") >= 4, "{}", feed.counter("producers"));
}

#[test]
fn a_record_that_is_too_large_is_refused_before_it_is_sent() {
    let cluster = cluster(1);
    let feed = feed(&cluster, "message_max_bytes = 4000");
    feed.send(10, 100);
    feed.send(1, 5_000);
    feed.send(10, 100);
    let status = feed.wait("all has an end", |status| status.queued + status.in_flight == 0);
    assert_eq!(
        (status.delivered, status.dropped[0].reason, status.dropped[0].events),
        (20, Reason::Rejected, 1)
    );
    assert_eq!(status.health.state, State::Degraded, "a loss is told");
    let said = status.last_error.unwrap().message;
    assert!(said.contains("message_max_bytes is 4000"), "{said}");
    let counted = read_back(&cluster, &feed);
    assert_eq!((counted.received, counted.duplicated, counted.missing), (20, 0, vec![11]));
}

#[test]
fn the_end_does_not_wait_for_brokers_that_are_gone() {
    let cluster = cluster(1);
    let feed = feed(&cluster, "");
    cluster.broker_down(-1).unwrap();
    feed.send(100, 100);
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    let closed = feed.outputs.close(Duration::from_secs(2));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!((closed[0].left, closed[0].status.law_holds()), (100, true));
}
