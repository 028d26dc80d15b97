//! `hostward config check --connect` for this sink.

use super::access::Access;
use super::config::KafkaConfig;
use super::producer;
use crate::net::check::CheckStep;
use crate::net::link;
use rdkafka::metadata::Metadata;
use rdkafka::producer::Producer as _;
use std::time::{Duration, Instant};

/// For the brokers to answer, all together.
const LIMIT: Duration = Duration::from_secs(20);

/// Names, files, connection, login, topic. Whether we may write shows only with the first event: a
/// broker does not tell, and a check leaves no record behind. Takes up to half a minute.
pub async fn check(config: &KafkaConfig) -> Vec<CheckStep> {
    let mut steps = Vec::new();
    let mut found = 0;
    for target in config.targets() {
        let what = format!("resolve {}", target.host);
        match link::resolve(&target, Duration::from_secs(10)).await {
            Ok(addresses) => {
                found += 1;
                let list: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                steps.push(CheckStep::ok(what, list.join(", ")));
            }
            Err(failure) => steps.push(CheckStep::failed(what, format!("{failure}; {}", failure.hint()))),
        }
    }
    if found == 0 {
        return steps;
    }
    let means = match Access::new(config).current() {
        Ok(means) => means,
        Err(failure) => {
            let why = format!("{failure}; {}", failure.hint());
            steps.push(CheckStep::failed("read secrets and certificates", why));
            return steps;
        }
    };
    let producer = match producer::make(config, &means, producer::BATCH_BYTES) {
        Ok(producer) => producer,
        Err(failure) => {
            let why = format!("{failure}; {}", failure.hint());
            steps.push(CheckStep::failed("set up the Kafka client", why));
            return steps;
        }
    };
    let brokers = format!("ask {} for topics", config.brokers.join(","));
    match ask(&producer) {
        Err(why) => steps.push(CheckStep::failed(brokers, why)),
        Ok(metadata) => {
            let login = config.mechanism().map_or("", |mechanism| mechanism.name());
            let tls = if config.uses_tls() { "TLS" } else { "no TLS" };
            steps
                .push(CheckStep::ok(brokers, format!("{} brokers, {tls} {login}", metadata.brokers().len())));
            steps.push(topic(config, &metadata));
        }
    }
    steps
}

/// All topics: to ask for one by name could make it.
fn ask(producer: &producer::Producer) -> Result<Metadata, String> {
    let deadline = Instant::now() + LIMIT;
    loop {
        // A token is asked for here, and troubles are told.
        std::thread::sleep(Duration::from_millis(50));
        producer::listen(producer);
        let told = producer.context().signs().trouble(false).map(|trouble| trouble.message.clone());
        if let Some(message) = told {
            return Err(message);
        }
        match producer.client().fetch_metadata(None, Duration::from_millis(500)) {
            Ok(metadata) => return Ok(metadata),
            Err(error) if Instant::now() >= deadline => {
                let cause = producer.context().signs().cause().map(str::to_owned);
                return Err(cause.unwrap_or_else(|| error.to_string()));
            }
            Err(_) => {}
        }
    }
}

fn topic(config: &KafkaConfig, metadata: &Metadata) -> CheckStep {
    let what = format!("find topic {}", config.topic);
    match metadata.topics().iter().find(|topic| topic.name() == config.topic) {
        Some(topic) => CheckStep::ok(what, format!("{} partitions", topic.partitions().len())),
        None => CheckStep::failed(
            what,
            "it is not there, or the user may not describe it; create it, or add the right",
        ),
    }
}
