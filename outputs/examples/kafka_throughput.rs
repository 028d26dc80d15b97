//! How fast the kafka sink is beside plain librdkafka with the same settings.
//!
//!     cargo run --release -p hostward-outputs --example kafka_throughput -- 127.0.0.1:9092 [EVENTS]
//!
//! Figures in events per second: encoding alone, decoding what the spool holds and encoding it, librdkafka with records
//! made beforehand, and the sink to the last acknowledgement, from its queue in memory and from a backlog on disk. The
//! topics `throughput-plain`, `throughput-memory` and `throughput-spool` are made by the broker and stay.

use hostward_event::encode::Encoding;
use hostward_event::event::{Body, Surroundings};
use hostward_event::process::Process;
use hostward_event::raw::Args;
use hostward_event::{Event, EventKind, IdMint, Text, canonical};
use hostward_outputs::config::QueueConfig;
use hostward_outputs::kafka::KafkaConfig;
use hostward_outputs::spool::{Spool, SpoolConfig};
use hostward_outputs::{Config, Lane, Outputs, SinkSpec};
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let brokers = words.next().ok_or("usage: kafka_throughput BROKER:PORT [EVENTS]")?;
    let count: usize = words.next().map_or(Ok(300_000), |word| word.parse())?;
    let events: Vec<Arc<Event>> = (1..=u64::try_from(count)?).map(event).collect();

    let began = Instant::now();
    let mut record = Vec::new();
    let mut records = Vec::with_capacity(count);
    for event in &events {
        record.clear();
        Encoding::Ecs.encode(event, &mut record);
        records.push(record.clone());
    }
    tell("encoding", count, began);
    let bytes: usize = records.iter().map(Vec::len).sum();
    println!("{:<20} {} bytes per record", "", bytes / count.max(1));

    let stored: Vec<Vec<u8>> = events.iter().map(stored).collect::<Result<_, _>>()?;
    let began = Instant::now();
    for bytes in &stored {
        record.clear();
        Encoding::Ecs.encode(&canonical::decode(bytes)?, &mut record);
    }
    tell("decoding, encoding", count, began);

    plain(&brokers, &records)?;
    from_memory(&brokers, &events)?;
    from_spool(&brokers, &events, &stored)
}

fn stored(event: &Arc<Event>) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut bytes = Vec::new();
    canonical::encode(event, &mut bytes)?;
    Ok(bytes)
}

fn tell(what: &str, count: usize, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let rate = count as f64 / seconds;
    println!("{what:<20} {rate:>9.0} events/s  ({count} in {seconds:.2} s)");
}

/// The first event makes the topic and is not counted.
fn plain(brokers: &str, records: &[Vec<u8>]) -> Result<(), Box<dyn Error>> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("compression.codec", "zstd")
        .set("queue.buffering.max.kbytes", "16384")
        .set("linger.ms", "5")
        .create()?;
    producer
        .send(BaseRecord::<str, [u8]>::to("throughput-plain").payload(b"first"))
        .map_err(|(error, _)| error)?;
    producer.flush(Duration::from_secs(60))?;
    let began = Instant::now();
    for record in records {
        loop {
            match producer.send(BaseRecord::to("throughput-plain").key("host").payload(record.as_slice())) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    producer.poll(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }
    producer.flush(Duration::from_secs(600))?;
    tell("librdkafka", records.len(), began);
    Ok(())
}

fn spec(brokers: &str, topic: &str) -> SinkSpec {
    let kafka = KafkaConfig {
        brokers: vec![brokers.to_owned()],
        topic: topic.to_owned(),
        queue: QueueConfig { max_events: 1 << 20, max_bytes: 1 << 30, ..KafkaConfig::default().queue },
        ..KafkaConfig::default()
    };
    SinkSpec { config: Config::Kafka(Box::new(kafka)), filter: None }
}

fn from_memory(brokers: &str, events: &[Arc<Event>]) -> Result<(), Box<dyn Error>> {
    let outputs = Outputs::start(vec![spec(brokers, "throughput-memory")])?;
    let delivered = |wanted: u64| {
        while outputs.status().first().is_some_and(|status| status.delivered < wanted) {
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    outputs.push(&event(0));
    delivered(1);
    let began = Instant::now();
    // The queue is as large as what is pushed, but a real one is not: it stays full.
    for chunk in events.chunks(8_192) {
        let waits = || outputs.status().first().is_some_and(|status| status.queued > 32_768);
        while waits() {
            std::thread::sleep(Duration::from_millis(1));
        }
        chunk.iter().for_each(|event| outputs.push(event));
    }
    delivered(u64::try_from(events.len())? + 1);
    tell("sink, from memory", events.len(), began);
    Ok(())
}

/// All events wait on disk before the sink starts. What it takes to make the topic is not counted.
fn from_spool(brokers: &str, events: &[Arc<Event>], stored: &[Vec<u8>]) -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let config = SpoolConfig {
        replay_events_per_s: 0,
        replay_jitter_ms: 0,
        min_free_bytes: Some(0),
        ..SpoolConfig::default()
    };
    let config = config.resolved(dir.path());
    let spec = spec(brokers, "throughput-spool");
    let name = spec.config.name().to_owned();
    let spool = Spool::open(&config, std::slice::from_ref(&name))?;
    for (event, bytes) in events.iter().zip(stored) {
        let set = spool.set_of(&name);
        let seq = spool.append(Lane::Telemetry, set, event.time_ns, event.id, bytes);
        let seq = seq.map_err(|(_, reason)| reason.describe())?;
        // The intake is bounded, and this is no test of it.
        while seq.saturating_sub(spool.durable_seq(Lane::Telemetry)) > 2_000 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    if !spool.close(Duration::from_secs(60)) {
        return Err("the disk does not take the backlog".into());
    }
    drop(spool);

    let outputs = Outputs::start_spooled(vec![spec], &config)?;
    let delivered = || outputs.status().first().map_or(0, |status| status.delivered);
    while delivered() == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (began, before) = (Instant::now(), delivered());
    while delivered() < u64::try_from(events.len())? {
        std::thread::sleep(Duration::from_millis(5));
    }
    tell("sink, from the spool", events.len() - usize::try_from(before)?, began);
    outputs.close(Duration::from_secs(5));
    Ok(())
}

fn event(sequence: u64) -> Arc<Event> {
    let around = Surroundings::default();
    let text = format!(
        "/usr/bin/worker\0--job\0{sequence}\0--input\0/srv/data/{}/part-{}.bin\0",
        sequence % 97,
        sequence % 1_013
    );
    let args = Args {
        total_bytes: u32::try_from(text.len()).unwrap_or(u32::MAX),
        raw: Text::from(text.into_bytes()),
    };
    let process = Process {
        pid: 1_000,
        comm: Text::from("worker"),
        path: Text::from("/usr/bin/worker"),
        args,
        ..Process::default()
    };
    Arc::new(Event {
        id: IdMint::new("m", "b").event(EventKind::Exec, 0, sequence, 0),
        sequence,
        time_ns: 1_760_000_000_000_000_000,
        created_ns: 1_760_000_000_000_000_000,
        source: None,
        tid: 1_000,
        process: Some(Arc::new(process)),
        lineage: Arc::default(),
        session_leader: None,
        around: Arc::new(around),
        body: Body::Exec { killed: false },
        partial: false,
        program: None,
        inside: None,
        domain: None,
        alert: None,
    })
}
