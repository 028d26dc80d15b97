//! Sinks from configurations as operators write them, and events with ids that can be counted.

use crate::common;
use hostward_event::Event;
use hostward_outputs::config::Config;
use hostward_outputs::{Outputs, SinkSpec, SinkStatus};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[derive(serde::Deserialize)]
struct Sinks {
    sink: Vec<Config>,
}

/// The sinks of a piece of configuration in which nothing is wrong.
pub(crate) fn config(text: &str) -> Vec<Config> {
    let sinks = toml::from_str::<Sinks>(text).unwrap().sink;
    assert_eq!(Config::validate(&sinks), []);
    sinks
}

pub(crate) fn start(text: &str) -> Outputs {
    let specs = config(text).into_iter().map(|config| SinkSpec { config, filter: None }).collect();
    Outputs::start(specs).unwrap()
}

/// Events of now; each tenth is an alert.
pub(crate) fn events(sequences: std::ops::RangeInclusive<u64>) -> Vec<Arc<Event>> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    let now_ns = i64::try_from(now).unwrap();
    let event = |sequence| {
        let made = if sequence % 10 == 0 { common::alert(sequence) } else { common::telemetry(sequence) };
        let stamped = Event { time_ns: now_ns, created_ns: now_ns, ..Event::clone(&made) };
        Arc::new(stamped)
    };
    sequences.map(event).collect()
}

pub(crate) fn push(outputs: &Outputs, events: &[Arc<Event>]) {
    events.iter().for_each(|event| outputs.push(event));
}

pub(crate) fn counter(status: &SinkStatus, name: &str) -> u64 {
    status.counters.iter().find(|(of, _)| *of == name).unwrap_or_else(|| panic!("no {name}: {status:?}")).1
}

/// Until all of `accepted` are delivered or rejected.
pub(crate) fn settled(outputs: &Outputs, accepted: u64) -> SinkStatus {
    within(outputs, Duration::from_secs(60), "all are settled", |status| {
        status.accepted == accepted && status.delivered + status.dropped_events() == accepted
    })
}

/// Waits for the only sink; the law is asserted at every reading.
pub(crate) fn within(
    outputs: &Outputs,
    limit: Duration,
    what: &str,
    is: impl Fn(&SinkStatus) -> bool,
) -> SinkStatus {
    let start = std::time::Instant::now();
    loop {
        let status = common::status(outputs);
        if is(&status) {
            return status;
        }
        assert!(start.elapsed() < limit, "waited in vain until {what}: {status:#?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// How often each id came.
pub(crate) fn tally(ids: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for id in ids {
        *tally.entry(id).or_default() += 1;
    }
    tally
}

/// Ids that were sent and did not come.
pub(crate) fn missing(sent: &[Arc<Event>], came: &BTreeMap<String, usize>) -> usize {
    sent.iter().filter(|event| !came.contains_key(&event.id.to_string())).count()
}
