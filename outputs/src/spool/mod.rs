//! Durable queue between the pipeline and the sinks.
//!
//! # Why it exists
//! A destination goes away for hours; what was detected must not. The spool turns "the output is
//! slow" into disk use with a known bound instead of lost events or a stalled pipeline.
//!
//! # How it works
//! Two lanes, alerts and telemetry, are one log each ([`LaneStatus`]): numbered segments on disk, with a
//! cursor per sink. [`Spool::append`] copies a record to a bounded buffer; the lane's writer makes
//! blocks of what came within a few milliseconds, compresses and writes them, and wakes the sinks. Its
//! keeper syncs, stores the cursors, and lets go of segments that every sink is done with. A
//! [`Reader`] takes records and settles each: delivered, to be tried again, or refused for good, which
//! puts it into a dead-letter file. One write, many readers: a dead sink only keeps segments, up to a cap.
//!
//! The law, which [`CursorStatus::law_holds`] states, holds at every reading and after every restart:
//! `accepted = delivered + in_spool + in_flight + dropped{reason} + dlq`.
//!
//! # What can go wrong
//! - *kill -9*: what was not yet written is gone, 10 ms of it at most.
//! - *Power loss*: recovery keeps what validates and counts the rest as dropped, reason `damaged`.
//! - *Disk full, failing writes, failing fdatasync*: a ring in memory takes over, sinks read on, and the disk is
//!   tried again; see [`RingReason`].
//! - *Damage*: checksums are seeded with each block's place; a bad block is skipped, counted, and its
//!   segment kept in `quarantine/`.
//!
//! # Not here
//! Batching and retry belong to the sink's driver, the form of a record to `hostward_event::canonical`. The
//! byte layout is fixed in `docs/specs/spool.md`; change that page first.

mod block;
mod bytes;
pub mod config;
mod cursor;
mod dlq;
mod intake;
mod log;
pub mod offline;
mod point;
mod reader;
mod segment;
mod state;
pub mod storage;
#[cfg(test)]
mod tests;

pub use config::{Durability, LaneConfig, SpoolConfig, SpoolProblem};
pub use dlq::DeadLetter;
pub use log::{CursorStatus, LaneCounters, LaneStatus, RingReason};
pub use reader::{Backlog, Lanes, Reader, Record, Settled};
pub use segment::Amount;
pub use state::MAX_SINKS;
pub use storage::OpenFailure;

use crate::{DropRange, Lane, Reason};
use block::{MAX_SLOTS, Packer};
use dlq::DeadLetters;
use hostward_event::EventId;
use intake::Due;
use log::{Log, Setup, bit};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use storage::{DirStorage, Storage};
use tokio::sync::Notify;

/// Between two states when something changed.
const PERSIST_EVERY: Duration = Duration::from_millis(250);
/// Between two looks at caps, room and a disk that failed.
const ENFORCE_EVERY: Duration = Duration::from_secs(1);
/// How long dropping a spool waits for the disk.
const DROP_GRACE: Duration = Duration::from_secs(30);
/// How long the writer waits for a sync before it looks again.
const SYNC_POLL: Duration = Duration::from_millis(5);

/// Wall clock, ns since the epoch.
fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Which sinks a record is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkSet(u16);

impl SinkSet {
    /// No sink.
    pub const NONE: Self = Self(0);

    /// True when no sink is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// True when all sinks of `other` are in it.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sinks that are in either set.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Wakes a keeper, or ends it.
#[derive(Debug, Default)]
struct Signal {
    state: Mutex<SignalState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct SignalState {
    kicked: bool,
    ended: bool,
    /// The keeper has nothing to do, and looks only once in a while.
    resting: bool,
}

impl Signal {
    fn lock(&self) -> MutexGuard<'_, SignalState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the keeper look at once.
    fn kick(&self) {
        self.lock().kicked = true;
        self.changed.notify_all();
    }

    /// Ends a rest: there is something to do again, in the keeper's own time.
    fn stir(&self) {
        let mut state = self.lock();
        if state.resting {
            state.kicked = true;
            drop(state);
            self.changed.notify_all();
        }
    }

    fn stop(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Waits for a kick, at most `tick`, or `rest` when there is nothing to do; true when it has to end. What
    /// begins while `at_rest` is asked stirs.
    fn wait(&self, tick: Duration, rest: Duration, at_rest: impl FnOnce() -> bool) -> bool {
        self.lock().resting = true;
        let at_rest = at_rest();
        let mut state = self.lock();
        state.resting = at_rest;
        let idle = |state: &mut SignalState| !state.kicked && !state.ended;
        let at_most = if at_rest { rest } else { tick };
        let waited = self.changed.wait_timeout_while(state, at_most, idle);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.kicked = false;
        state.resting = false;
        state.ended
    }
}

/// What the threads and the readers share.
struct Shared {
    /// Alerts first.
    logs: Vec<Arc<Log>>,
    keepers: Vec<Signal>,
    /// One per slot and lane; equal in both lanes.
    wakes: Vec<Notify>,
    /// The alert lane waits for room that telemetry has to give.
    relief: AtomicBool,
    group: Duration,
    root: PathBuf,
}

/// See the module. Dropping it closes it. Its lock is free when its readers are gone, too.
pub struct Spool {
    shared: Arc<Shared>,
    sinks: Vec<String>,
    threads: Mutex<Vec<(JoinHandle<()>, JoinHandle<()>)>>,
    config: SpoolConfig,
}

/// Everything there is to tell of the spool at one moment.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SpoolStatus {
    /// Alerts, telemetry.
    pub lanes: Vec<LaneStatus>,
}

impl SpoolStatus {
    /// The law, for every sink in every lane.
    pub fn law_holds(&self) -> bool {
        self.lanes.iter().flat_map(|lane| &lane.sinks).all(CursorStatus::law_holds)
    }

    /// One sink's books in both lanes.
    pub fn of<'a>(&'a self, sink: &'a str) -> impl Iterator<Item = (Lane, &'a CursorStatus)> {
        let ours = move |lane: &'a LaneStatus| {
            lane.sinks.iter().filter(move |cursor| cursor.sink == sink).map(move |cursor| (lane.lane, cursor))
        };
        self.lanes.iter().flat_map(ours)
    }
}

/// Random bytes for the identity of a log.
fn new_uuid() -> [u8; 16] {
    let mut uuid = [0; 16];
    match rustix::rand::getrandom(&mut uuid, rustix::rand::GetRandomFlags::empty()) {
        Ok(16) => uuid,
        // Only to tell logs apart: the time does as well.
        _ => u128::from_ne_bytes([7; 16]).wrapping_mul(u128::from(now_ns().unsigned_abs())).to_le_bytes(),
    }
}

impl Spool {
    /// Opens the spool for these sinks (at most [`MAX_SINKS`]) and starts its threads. A sink that is new
    /// gets what is appended from now on. A lane whose directory cannot be used runs in memory and
    /// says so in its status.
    ///
    /// # Errors
    /// Another process holds it, there are more than [`MAX_SINKS`], or no thread can be started.
    pub fn open(config: &SpoolConfig, sinks: &[String]) -> Result<Self, OpenFailure> {
        if sinks.len() > MAX_SINKS {
            return Err(OpenFailure::TooManySinks { path: config.dir.clone(), sinks: sinks.len() });
        }
        let sinks = sinks.to_vec();
        let mut logs = Vec::new();
        for lane in [Lane::Alert, Lane::Telemetry] {
            let on_disk = config.lane(lane).durability != Durability::Memory;
            let storage: Option<Arc<dyn Storage>> = if on_disk {
                match DirStorage::open(&config.dir, lane.name()) {
                    Ok(storage) => Some(Arc::new(storage)),
                    Err(held @ OpenFailure::Held { .. }) => return Err(held),
                    Err(failure) => {
                        tracing::error!(%failure, hint = failure.hint(), "the spool's lane runs in memory only");
                        None
                    }
                }
            } else {
                None
            };
            logs.push(Arc::new(open_log(config, lane, &sinks, storage)));
        }
        let shared = Arc::new(Shared {
            keepers: logs.iter().map(|_| Signal::default()).collect(),
            wakes: (0..MAX_SLOTS).map(|_| Notify::new()).collect(),
            logs,
            relief: AtomicBool::new(false),
            group: Duration::from_millis(config.group_ms),
            root: config.dir.clone(),
        });
        let spool = Self { shared, sinks, threads: Mutex::new(Vec::new()), config: config.clone() };
        spool.start().map_err(|error| OpenFailure::Io {
            path: config.dir.clone(),
            what: "start the threads of",
            source: rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::AGAIN),
        })?;
        Ok(spool)
    }

    fn start(&self) -> std::io::Result<()> {
        for at in 0..self.shared.logs.len() {
            let name = |what: &str| {
                let lane = self.shared.logs.get(at).map_or("", |log| log.lane.name());
                format!("{}-{what}", lane.get(..5).unwrap_or(lane))
            };
            let shared = Arc::clone(&self.shared);
            let writer = std::thread::Builder::new().name(name("write")).spawn(move || write(&shared, at))?;
            let shared = Arc::clone(&self.shared);
            let keeper = std::thread::Builder::new().name(name("keep")).spawn(move || keep(&shared, at))?;
            self.threads.lock().unwrap_or_else(PoisonError::into_inner).push((writer, keeper));
        }
        Ok(())
    }

    /// What it was opened with.
    pub const fn config(&self) -> &SpoolConfig {
        &self.config
    }

    /// The set of this one sink; empty for a name it was not opened with.
    pub fn set_of(&self, sink: &str) -> SinkSet {
        self.slot(sink).map_or(SinkSet::NONE, |slot| SinkSet(bit(slot)))
    }

    fn slot(&self, sink: &str) -> Option<usize> {
        self.shared.logs.first().and_then(|log| log.slot(sink))
    }

    /// Hands a record over for the sinks of the set. Never waits for the disk: what finds the buffer full is
    /// dropped and counted. Gives its number in the lane.
    ///
    /// # Errors
    /// It was dropped; with its number and why.
    pub fn append(
        &self,
        lane: Lane,
        sinks: SinkSet,
        time_ns: i64,
        id: EventId,
        record: &[u8],
    ) -> Result<u64, (u64, Reason)> {
        let log = self.shared.logs.iter().find(|log| log.lane == lane);
        let Some(log) = log else { return Err((0, Reason::Overrun)) };
        log.intake.append(sinks.0, time_ns, &id.to_bytes(), record)
    }

    /// The reader of a sink; none for a name it was not opened with.
    pub fn reader(&self, sink: &str) -> Option<Reader> {
        Some(Reader {
            shared: Arc::clone(&self.shared),
            sink: sink.to_owned(),
            slot: self.slot(sink)?,
            dead_letters: Mutex::new(DeadLetters::new(&self.shared.root, sink)),
        })
    }

    /// The sinks it was opened with.
    pub fn sinks(&self) -> &[String] {
        &self.sinks
    }

    /// All records of the lane below this number are durable, as its class means it, or were dropped and
    /// counted.
    pub fn durable_seq(&self, lane: Lane) -> u64 {
        self.shared.logs.iter().find(|log| log.lane == lane).map_or(0, |log| log.durable_seq())
    }

    /// Everything there is to tell.
    pub fn status(&self) -> SpoolStatus {
        SpoolStatus { lanes: self.shared.logs.iter().map(|log| log.status(now_ns())).collect() }
    }

    /// What every sink lost since the last call, with the sink's name: for the feed's loss events.
    pub fn take_losses(&self) -> Vec<(String, DropRange)> {
        self.shared.logs.iter().flat_map(|log| log.take_losses(now_ns())).collect()
    }

    /// Gives up all that waits for a sink in a lane now. Gives how many records that were.
    pub fn drop_waiting(&self, lane: Lane, sink: &str) -> u64 {
        let Some(slot) = self.slot(sink) else { return 0 };
        let log = self.shared.logs.iter().find(|log| log.lane == lane);
        log.map_or(0, |log| log.drop_waiting(slot, Reason::Operator, now_ns()))
    }

    /// Takes no more records, writes and syncs what it has, stores the state, ends the threads. A disk that
    /// hangs is waited for no longer than `grace`: then its threads are left behind, and false is the answer.
    pub fn close(&self, grace: Duration) -> bool {
        let deadline = Instant::now() + grace;
        for log in &self.shared.logs {
            log.intake.close();
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let mut closed = true;
        for ((writer, keeper), signal) in threads.into_iter().zip(&self.shared.keepers) {
            closed &= ended(writer, deadline);
            signal.stop();
            closed &= ended(keeper, deadline);
        }
        if !closed {
            tracing::error!(dir = %self.shared.root.display(), "the disk did not take the spool's last words in time");
        }
        closed
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.close(DROP_GRACE);
    }
}

/// Waits for the end of a thread. False when it did not come in time.
fn ended(thread: JoinHandle<()>, deadline: Instant) -> bool {
    while !thread.is_finished() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    // One that panicked has ended, too: what it did not store a start finds.
    let _ = thread.join();
    true
}

/// Opens a lane, in memory when the directory's content cannot be used.
fn open_log(config: &SpoolConfig, lane: Lane, sinks: &[String], storage: Option<Arc<dyn Storage>>) -> Log {
    let setup = |storage| Setup {
        lane,
        config: config.lane(lane),
        min_free_bytes: config.min_free_bytes,
        sinks,
        storage,
        uuid: new_uuid(),
        look: false,
        now: now_ns(),
    };
    match Log::open(setup(storage)) {
        Ok(log) => log,
        Err((what, error)) => {
            let path = config.dir.join(lane.name());
            tracing::error!(path = %path.display(), %error, "cannot {what} the spool: this lane runs in memory only");
            Log::in_memory(setup(None))
        }
    }
}

/// A lane's writer.
fn write(shared: &Shared, at: usize) {
    let (Some(log), Some(keeper)) = (shared.logs.get(at), shared.keepers.get(at)) else { return };
    let mut packer = Packer::new();
    while let Due::Block(block) = log.intake.wait(shared.group) {
        let shares = log.write(block, &mut packer, now_ns());
        if log.config.durability == Durability::Sync || log.must_sync_first() {
            keeper.kick();
        } else {
            keeper.stir();
        }
        for (wake, share) in shared.wakes.iter().zip(shares) {
            if share.events > 0 {
                wake.notify_one();
            }
        }
        // The buffer fills meanwhile, and what it cannot take is counted.
        while log.must_sync_first() {
            std::thread::sleep(SYNC_POLL);
        }
    }
}

/// A lane's keeper. The last thing it does is to store everything.
fn keep(shared: &Shared, at: usize) {
    let (Some(log), Some(signal)) = (shared.logs.get(at), shared.keepers.get(at)) else { return };
    let tick = match log.config.durability {
        Durability::Batch => Duration::from_millis(log.config.sync_ms).min(PERSIST_EVERY),
        Durability::Sync | Durability::Os | Durability::Memory => PERSIST_EVERY,
    };
    let (mut persisted, mut enforced) = (Instant::now(), Instant::now());
    while !signal.wait(tick, ENFORCE_EVERY, || log.is_at_rest()) {
        let now = now_ns();
        log.sync(now);
        if enforced.elapsed() >= ENFORCE_EVERY || log.is_over() {
            enforced = Instant::now();
            let relieve = log.lane == Lane::Telemetry && shared.relief.swap(false, Ordering::Relaxed);
            log.enforce(relieve, now);
            if log.lane == Lane::Alert && log.needs_room() {
                shared.relief.store(true, Ordering::Relaxed);
            }
        }
        if persisted.elapsed() >= PERSIST_EVERY {
            persisted = Instant::now();
            let stored = log.persist();
            log.reap(stored);
        }
    }
    log.finish(now_ns());
}
