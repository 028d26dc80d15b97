//! Reads a topic back.

use crate::feed::{Count, Feed};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A record as a consumer sees it.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) time_ms: i64,
    pub(crate) value: Vec<u8>,
}

/// All records of a topic, partition by partition, up to its present end.
pub(crate) fn read(brokers: &str, topic: &str) -> Vec<Record> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .set("fetch.message.max.bytes", "8388608")
        .create()
        .unwrap();
    let limit = Duration::from_secs(30);
    let metadata = consumer.fetch_metadata(Some(topic), limit).unwrap();
    let mut list = TopicPartitionList::new();
    let mut left = 0;
    for partition in metadata.topics()[0].partitions() {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), limit).unwrap();
        assert_eq!(low, 0, "nothing was deleted");
        left += high;
        list.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut records = Vec::new();
    // Batches of an idempotent producer hold nothing but records, so offsets count them.
    while left > 0 {
        assert!(Instant::now() < deadline, "{left} records cannot be read");
        let Some(message) = consumer.poll(Duration::from_millis(200)) else { continue };
        let message = message.unwrap();
        let header = |at: usize| {
            let header = message.headers().unwrap().get(at);
            let value = String::from_utf8(header.value.unwrap().to_vec()).unwrap();
            (header.key.to_owned(), value)
        };
        records.push(Record {
            partition: message.partition(),
            key: message.key().map(<[u8]>::to_vec),
            headers: (0..message.headers().unwrap().count()).map(header).collect(),
            time_ms: message.timestamp().to_millis().unwrap(),
            value: message.payload().unwrap().to_vec(),
        });
        left -= 1;
    }
    records
}

/// Counts by the header `event.id`.
pub(crate) fn count(feed: &Feed, records: &[Record]) -> Count {
    Count::of(feed, records.iter().map(|record| record.headers["event.id"].as_str()))
}
