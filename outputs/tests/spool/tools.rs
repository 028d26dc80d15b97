//! Spools, records and sinks for the tests.

use hostward_event::{Event, EventId};
use hostward_outputs::config::QueueConfig;
use hostward_outputs::spool::{Lanes, Reader, Settled, Spool, SpoolConfig};
use hostward_outputs::{Ack, Batch, FailureKind, Lane, SendFailure, Sink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Without a pause or a pace after an outage, and on any filesystem.
pub(crate) fn config(dir: &Path) -> SpoolConfig {
    SpoolConfig {
        dir: dir.join("spool"),
        min_free_bytes: Some(0),
        replay_jitter_ms: 0,
        replay_events_per_s: 0,
        ..SpoolConfig::default()
    }
}

pub(crate) fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

/// Batches at once.
pub(crate) fn quick() -> QueueConfig {
    QueueConfig { linger_ms: 0, batch_events: 64, ..QueueConfig::default() }
}

/// The event as of now.
pub(crate) fn now(event: Arc<Event>) -> Arc<Event> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Arc::new(Event { time_ns: i64::try_from(since.as_nanos()).unwrap(), ..Event::clone(&event) })
}

/// A record that no compressor makes smaller.
pub(crate) fn noise(id: u64, length: usize) -> Vec<u8> {
    let mut dice = fastrand::Rng::with_seed(id);
    let mut record = id.to_le_bytes().to_vec();
    record.extend((8..length).map(|_| dice.u8(..)));
    record
}

pub(crate) fn append(spool: &Spool, lane: Lane, sinks: &[&str], id: u64, record: &[u8]) -> Option<u64> {
    let set = sinks
        .iter()
        .map(|sink| spool.set_of(sink))
        .fold(Default::default(), |a: hostward_outputs::spool::SinkSet, b| a.with(b));
    spool
        .append(
            lane,
            set,
            1_767_225_600_000_000_000,
            EventId::from_bytes(u128::from(id).to_be_bytes()),
            record,
        )
        .ok()
}

pub(crate) fn id_of(record: &[u8]) -> u64 {
    u64::from_le_bytes(record[..8].try_into().unwrap())
}

/// Waits until `is` gives something.
pub(crate) fn until<T>(what: &str, mut is: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(value) = is() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Takes and delivers all there is; lane and bytes of each.
pub(crate) fn drain(spool: &Spool, reader: &Reader) -> Vec<(Lane, Vec<u8>)> {
    let mut all = Vec::new();
    until("all is read", || {
        let records = reader.take(Lanes::Both, 1_000, 8 << 20);
        reader.settle(&records, records.iter().map(|_| Settled::Delivered)).unwrap();
        all.extend(records.iter().map(|record| (record.lane(), record.bytes().to_vec())));
        let backlog = reader.backlog();
        (backlog.alerts.events + backlog.telemetry.events == 0).then_some(())
    });
    assert!(spool.status().law_holds(), "{:#?}", spool.status());
    all
}

/// What a [`Door`] let through: is it an alert, and the sequence.
pub(crate) type Seen = Arc<Mutex<Vec<(bool, u64)>>>;

/// A destination that is there or not.
pub(crate) struct Door {
    pub(crate) open: Arc<AtomicBool>,
    pub(crate) seen: Seen,
}

impl Sink for Door {
    async fn send(&mut self, batch: &Batch) -> Result<Ack, SendFailure> {
        if !self.open.load(Ordering::Relaxed) {
            let failure = SendFailure::new(FailureKind::Passing, "the door is shut".to_owned());
            return Err(SendFailure { retry_after: Duration::from_millis(20), ..failure });
        }
        let seen = batch.events().map(|event| (event.alert.is_some(), event.sequence));
        self.seen.lock().unwrap().extend(seen);
        Ok(Ack::All)
    }
}
