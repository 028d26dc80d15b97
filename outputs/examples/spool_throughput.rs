//! What the spool takes and gives on this machine: events per second, bytes per event, compression, and how
//! long a start with a full spool takes. Run it optimized:
//!
//! ```text
//! cargo run --release -p hostward-outputs --example spool_throughput -- [DIR] [EVENTS]
//! ```
//! The directory decides which disk is measured; default: a new one below the system's temporary directory.
//!
//! How well real events compress: `hostward run` with a sink that cannot be reached and its own `--state-dir` while the
//! machine works, then
//!
//! ```text
//! cargo run --release -p hostward-outputs --example spool_throughput -- --records STATE_DIR/spool
//! ```
//! reads what waits there for any sink (the directory stays as it is) and writes it to a new spool. A file in its place
//! is JSON lines, such as a feed, each of which becomes a record as it is.

#[path = "../tests/support/events.rs"]
mod events;

use hostward_event::{Event, EventId, canonical};
use hostward_outputs::Lane;
use hostward_outputs::spool::{Durability, LaneConfig, Lanes, Settled, Spool, SpoolConfig, offline};
use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn config(dir: &Path, durability: Durability) -> SpoolConfig {
    let telemetry = LaneConfig { durability, max_bytes: Some(8 << 30), ..LaneConfig::default() };
    let alert = LaneConfig { max_bytes: Some(8 << 30), ..LaneConfig::alert() };
    SpoolConfig { dir: dir.to_owned(), min_free_bytes: Some(0), telemetry, alert, ..SpoolConfig::default() }
}

fn per_second(count: u64, time: Duration) -> u64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a figure for people"
    )]
    let rate = (count as f64 / time.as_secs_f64()) as u64;
    rate
}

fn ratio(raw: u64, stored: u64) -> String {
    let tenths = raw * 10 / stored.max(1);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// Memory of this process now; 0 where /proc does not tell.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// CPU time of this process so far.
fn cpu() -> Duration {
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(usage.tv_sec.unsigned_abs(), u32::try_from(usage.tv_nsec).unwrap_or(0))
}

fn lane(
    dir: &Path,
    lane: Lane,
    durability: Durability,
    what: &str,
    records: &[(Event, Vec<u8>)],
    count: u64,
) -> Outcome {
    let config = config(&dir.join(what.replace(' ', "-")), durability);
    let memory = resident_kib();
    let spool = Spool::open(&config, &["sink".to_owned()])?;
    let set = spool.set_of("sink");
    let (begin, cpu_begin) = (Instant::now(), cpu());
    for (appended, (event, record)) in (0..count).zip(records.iter().cycle()) {
        // A full buffer drops: a benchmark waits instead.
        if appended % 64 == 0 {
            while spool.status().lanes.iter().any(|lane| lane.intake_bytes > 1 << 20) {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        spool.append(lane, set, event.time_ns, event.id, record).map_err(|(_, reason)| reason.describe())?;
    }
    while spool.durable_seq(lane) <= count {
        std::thread::sleep(Duration::from_micros(200));
    }
    let (time, used) = (begin.elapsed(), cpu() - cpu_begin);
    let status = spool.status();
    let counters = status.lanes.iter().find(|status| status.lane == lane).ok_or("no such lane")?.counters;
    println!(
        "{what}: write {} events/s ({} per CPU second), {} B raw and {} B on disk per event (1:{}), {} syncs",
        per_second(count, time),
        per_second(count, used),
        counters.raw_bytes / count,
        counters.written_bytes / count,
        ratio(counters.raw_bytes, counters.written_bytes),
        counters.synced,
    );
    let grown = resident_kib().saturating_sub(memory);
    println!("{what}: {grown} KiB more memory while nobody reads");
    drop(spool);

    let begin = Instant::now();
    let spool = Spool::open(&config, &["sink".to_owned()])?;
    let segments = spool.status().lanes.iter().map(|lane| lane.segments).sum::<usize>();
    println!("{what}: a start with {segments} segments takes {} ms", begin.elapsed().as_millis());
    let reader = spool.reader("sink").ok_or("no reader")?;
    let begin = Instant::now();
    let mut read = 0_u64;
    while read < count {
        let records = reader.take(Lanes::Both, 4_096, 8 << 20);
        read += u64::try_from(records.len())?;
        reader.settle(&records, records.iter().map(|_| Settled::Delivered))?;
    }
    println!("{what}: read {} events/s", per_second(count, begin.elapsed()));
    if !spool.close(Duration::from_secs(60)) || !spool.status().law_holds() {
        return Err("the law is broken".into());
    }
    Ok(())
}

/// From the append of a lone alert until it is durable, and until it can be read.
fn lone_alerts(dir: &Path, records: &[(Event, Vec<u8>)]) -> Outcome {
    let spool = Spool::open(&config(&dir.join("lone"), Durability::Batch), &["sink".to_owned()])?;
    let (set, reader) = (spool.set_of("sink"), spool.reader("sink").ok_or("no reader")?);
    let (mut durable, mut readable) = (Vec::new(), Vec::new());
    for (event, record) in records.iter().take(200) {
        let begin = Instant::now();
        let seq = spool
            .append(Lane::Alert, set, event.time_ns, event.id, record)
            .map_err(|(_, reason)| reason.describe())?;
        let mut taken = Vec::new();
        while taken.is_empty() {
            taken = reader.take(Lanes::Both, 10, 1 << 20);
            std::thread::sleep(Duration::from_micros(50));
        }
        readable.push(begin.elapsed());
        while spool.durable_seq(Lane::Alert) <= seq {
            std::thread::sleep(Duration::from_micros(50));
        }
        durable.push(begin.elapsed());
        reader.settle(&taken, taken.iter().map(|_| Settled::Delivered))?;
    }
    for (what, mut times) in [("readable", readable), ("durable", durable)] {
        times.sort_unstable();
        let at = |percent: usize| times.get(times.len() * percent / 100).map_or(0, Duration::as_micros);
        println!("a lone alert is {what} after {} µs (median), {} µs (p99)", at(50), at(99));
    }
    Ok(())
}

/// The records that wait in a spool, with the bytes that they take there, or the lines of a file.
fn recorded(from: &Path) -> Outcome<(Vec<Vec<u8>>, Option<u64>)> {
    if from.is_file() {
        let bytes = std::fs::read(from)?;
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        return Ok((lines.map(<[u8]>::to_vec).collect(), None));
    }
    let copy = tempfile::tempdir()?;
    let mut stored = 0;
    for lane in ["alert", "telemetry"] {
        std::fs::create_dir(copy.path().join(lane))?;
        for entry in std::fs::read_dir(from.join(lane))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let length = std::fs::copy(entry.path(), copy.path().join(lane).join(entry.file_name()))?;
                // Not the state, and not the lock.
                stored += if entry.path().extension().is_some() { length } else { 0 };
            }
        }
    }
    let status = offline::status(copy.path())?;
    let sinks = status.lanes.iter().flat_map(|lane| &lane.sinks).map(|cursor| cursor.sink.clone());
    let sinks: Vec<String> = sinks.collect::<BTreeSet<_>>().into_iter().collect();
    let spool = Spool::open(&config(copy.path(), Durability::Batch), &sinks)?;
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for sink in &sinks {
        let reader = spool.reader(sink).ok_or("no reader")?;
        loop {
            let records = reader.take(Lanes::Both, 4_096, 8 << 20);
            if records.is_empty() {
                break;
            }
            let new = records.iter().filter(|record| seen.insert((record.lane().name(), record.seq())));
            all.extend(new.map(|record| record.bytes().to_vec()));
            reader.settle(&records, records.iter().map(|_| Settled::Delivered))?;
        }
    }
    Ok((all, Some(stored)))
}

/// How small they become, each written once, in blocks that a busy lane fills.
fn compression(from: &Path) -> Outcome {
    let (records, stored) = recorded(from)?;
    let dir = tempfile::tempdir()?;
    let spool = Spool::open(&config(dir.path(), Durability::Os), &["sink".to_owned()])?;
    let set = spool.set_of("sink");
    let mut last = 0;
    for (n, record) in records.iter().enumerate() {
        while n % 64 == 0 && spool.status().lanes.iter().any(|lane| lane.intake_bytes > 1 << 20) {
            std::thread::sleep(Duration::from_micros(200));
        }
        let id = EventId::from_bytes(u128::try_from(n)?.to_be_bytes());
        let seq = spool.append(Lane::Telemetry, set, 0, id, record);
        last = seq.map_err(|(_, reason)| reason.describe())?;
    }
    while spool.durable_seq(Lane::Telemetry) <= last {
        std::thread::sleep(Duration::from_micros(200));
    }
    let status = spool.status();
    let counters =
        status.lanes.iter().find(|status| status.lane == Lane::Telemetry).ok_or("no such lane")?.counters;
    let count = u64::try_from(records.len())?.max(1);
    println!(
        "{count} records of {}: {} B raw and {} B on disk each (1:{}), {} KiB raw per block",
        from.display(),
        counters.raw_bytes / count,
        counters.written_bytes / count,
        ratio(counters.raw_bytes, counters.written_bytes),
        counters.raw_bytes / counters.written_blocks.max(1) / 1_024,
    );
    if let Some(stored) = stored {
        println!(
            "as the agent wrote them, a block each few milliseconds: {} B on disk each (1:{})",
            stored / count,
            ratio(counters.raw_bytes, stored),
        );
    }
    Ok(())
}

fn main() -> Outcome {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.next_if(|word| word == "--records").is_some() {
        let from = args.next().ok_or("usage: spool_throughput --records SPOOL|FEED.jsonl")?;
        return compression(Path::new(&from));
    }
    let dir = args.next().map_or_else(std::env::temp_dir, Into::into);
    let dir = dir.join(format!("hostward-spool-{}", std::process::id()));
    let count = match args.next() {
        Some(count) => count.to_str().ok_or("EVENTS is no number")?.parse()?,
        None => 500_000,
    };
    let mut made = events::Events::new(1);
    let record = |event: Event| {
        let mut record = Vec::new();
        canonical::encode(&event, &mut record).map(|()| (event, record))
    };
    let telemetry = (0..5_000).map(|_| record(made.telemetry())).collect::<Result<Vec<_>, _>>()?;
    let mut made = events::Events::new(2);
    let alerts = (0..5_000).map(|_| record(made.alert())).collect::<Result<Vec<_>, _>>()?;
    let kib: Vec<(Event, Vec<u8>)> = telemetry
        .iter()
        .map(|(event, record)| (event.clone(), record.iter().copied().take(1_024).collect()))
        .collect();
    lane(&dir, Lane::Telemetry, Durability::Batch, "telemetry batch", &telemetry, count)?;
    lane(&dir, Lane::Telemetry, Durability::Batch, "telemetry batch 1 KiB", &kib, count)?;
    lane(&dir, Lane::Telemetry, Durability::Os, "telemetry os", &telemetry, count)?;
    lane(&dir, Lane::Alert, Durability::Sync, "alert sync", &alerts, count / 10)?;
    lone_alerts(&dir, &alerts)?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
