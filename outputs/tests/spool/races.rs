//! Everything at once: the pipeline, two sinks that fail, caps, an operator, and somebody who looks.

use crate::tools::{GRACE, append, config, id_of, names, noise, until};
use hostward_outputs::Lane;
use hostward_outputs::spool::{LaneConfig, Lanes, Settled, Spool, SpoolConfig};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const EVENTS: u64 = 12_000;

/// Takes, and settles as dice fall, until all is settled; what it delivered, how often.
fn read(spool: &Spool, sink: &str, seed: u64, end: &AtomicBool) -> BTreeMap<u64, u32> {
    let reader = spool.reader(sink).unwrap();
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut settled = BTreeMap::new();
    loop {
        let lanes = if dice.u8(..4) == 0 { Lanes::AlertsOnly } else { Lanes::Both };
        let records = reader.take(lanes, dice.usize(1..200), 1 << 20);
        if dice.u8(..8) == 0 {
            // A slow answer, while caps and the operator go on.
            std::thread::sleep(Duration::from_millis(dice.u64(..40)));
        }
        let verdicts: Vec<Settled> = records
            .iter()
            .map(|_| match dice.u8(..16) {
                0..4 => Settled::Retry,
                4 => Settled::Rejected { reason: "no".to_owned(), document: None },
                _ => Settled::Delivered,
            })
            .collect();
        for (record, verdict) in records.iter().zip(&verdicts) {
            let id = id_of(record.bytes());
            assert_eq!(record.bytes(), noise(id, 120), "whole");
            if *verdict != Settled::Retry {
                *settled.entry(id).or_default() += 1;
            }
        }
        reader.settle(&records, verdicts).unwrap();
        let backlog = reader.backlog();
        if records.is_empty() {
            if end.load(Ordering::Relaxed) && backlog.alerts.events + backlog.telemetry.events == 0 {
                return settled;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn the_law_holds_at_every_look_and_each_record_is_settled_once() {
    let dir = tempfile::tempdir().unwrap();
    let lane = LaneConfig {
        segment_bytes: 65_536,
        max_bytes: Some(200_000),
        sink_max_bytes: 150_000,
        intake_bytes: 1 << 20,
        ..LaneConfig::default()
    };
    let spool_config = SpoolConfig { telemetry: lane.clone(), alert: lane, ..config(dir.path()) };
    let spool = Spool::open(&spool_config, &names(&["one", "two"])).unwrap();
    let (written, end) = (AtomicU64::new(0), AtomicBool::new(false));
    let operator = Mutex::new(0);
    let (one, two) = std::thread::scope(|scope| {
        for half in 0..2 {
            let (spool, written) = (&spool, &written);
            scope.spawn(move || {
                for n in 0..EVENTS / 2 {
                    let id = n * 2 + half;
                    let lane = if id % 7 == 0 { Lane::Alert } else { Lane::Telemetry };
                    append(spool, lane, &["one", "two"], id, &noise(id, 120));
                    if n % 100 == 0 {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
                written.fetch_add(1, Ordering::Relaxed);
            });
        }
        let one = scope.spawn(|| read(&spool, "one", 1, &end));
        let two = scope.spawn(|| read(&spool, "two", 2, &end));
        let mut looks = 0;
        until("all is written", || {
            looks += 1;
            let status = spool.status();
            assert!(status.law_holds(), "{status:#?}");
            if looks % 40 == 0 {
                *operator.lock().unwrap() += spool.drop_waiting(Lane::Telemetry, "two");
            }
            (written.load(Ordering::Relaxed) == 2).then_some(())
        });
        end.store(true, Ordering::Relaxed);
        (one.join().unwrap(), two.join().unwrap())
    });
    for (sink, settled) in [("one", one), ("two", two)] {
        assert!(settled.values().all(|times| *times == 1), "{sink}: settled twice");
        let status = spool.status();
        let books: Vec<_> = status.of(sink).map(|(_, books)| books).collect();
        let sum = |of: fn(&hostward_outputs::spool::CursorStatus) -> u64| {
            books.iter().map(|books| of(books)).sum::<u64>()
        };
        assert_eq!(sum(|books| books.accepted), EVENTS);
        assert_eq!(sum(|books| books.delivered) + sum(|books| books.dlq), settled.len() as u64, "{books:#?}");
        assert_eq!(sum(|books| books.dropped_events()), EVENTS - settled.len() as u64, "{books:#?}");
    }
    assert!(*operator.lock().unwrap() > 0, "the operator found something to drop");
    assert!(spool.close(GRACE));
    assert!(spool.status().law_holds());
}
