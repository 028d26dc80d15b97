//! Files of format version 1 that every later version has to read.

use crate::spool::block::{Codec, Packer, decode_block};
use crate::spool::config::{Durability, LaneConfig};
use crate::spool::cursor::Outcome;
use crate::spool::log::{Log, Setup};
use crate::spool::segment::{parse_name, read_exact, read_header, scan};
use crate::spool::storage::{DirStorage, Storage};
use crate::spool::{Lanes, Settled, Spool, SpoolConfig};
use crate::{Lane, Reason};
use hostward_event::{canonical, encode};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[path = "../../../tests/support/events.rs"]
mod events;

/// 2026-01-01.
const NOW: i64 = 1_767_225_600_000_000_000;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/spool-v1")
}

fn names() -> [String; 2] {
    ["file".to_owned(), "siem".to_owned()]
}

/// One line per record: lane, seq, sinks, id, length, CRC-32C.
fn row(lane: Lane, seq: u64, sinks: &str, id: &str, record: &[u8]) -> String {
    let crc = crc32c::crc32c(record);
    format!("{}\t{seq}\t{sinks}\t{id}\t{}\t{crc:08x}\n", lane.name(), record.len())
}

/// Writes the golden files anew. They are part of the format: only for a new version, beside the old ones.
#[test]
#[ignore = "writes tests/golden/spool-v1, which must not change"]
fn make() {
    let root = golden();
    std::fs::remove_dir_all(&root).ok();
    let mut list = String::new();
    for lane in [Lane::Alert, Lane::Telemetry] {
        let config = LaneConfig {
            segment_bytes: 3_000,
            ..LaneConfig { durability: Durability::Batch, ..LaneConfig::default() }
        };
        let setup = Setup {
            lane,
            config: &config,
            min_free_bytes: Some(0),
            sinks: &names(),
            storage: Some(Arc::new(DirStorage::open(&root, lane.name()).unwrap())),
            uuid: [0x5a + lane.number(); 16],
            look: false,
            now: NOW,
        };
        let log = Log::open(setup).unwrap_or_else(|(what, error)| panic!("{what}: {error}"));
        let (mut packer, mut events) = (Packer::new(), events::Events::new(3));
        let mut append = |events: usize, sinks: u16, made: &mut events::Events| {
            for _ in 0..events {
                let event = if lane == Lane::Alert { made.alert() } else { made.telemetry() };
                let mut record = Vec::new();
                canonical::encode(&event, &mut record).unwrap();
                let seq = log.intake.append(sinks, event.time_ns, &event.id.to_bytes(), &record).unwrap();
                let sinks = ["", "file", "siem", "file,siem"][usize::from(sinks)];
                list.push_str(&row(lane, seq, sinks, &event.id.to_string(), &record));
            }
            log.write_all(&mut packer, NOW);
            log.sync(NOW);
        };
        // Small blocks, large ones, for one sink and for both.
        append(1, 0b11, &mut events);
        append(2, 0b10, &mut events);
        append(if lane == Lane::Alert { 4 } else { 20 }, 0b11, &mut events);
        append(1, 0b01, &mut events);
        // No event at all, and not to be compressed.
        let mut dice = fastrand::Rng::with_seed(1);
        let noise: Vec<u8> = (0..300).map(|_| dice.u8(..)).collect();
        let seq = log.intake.append(0b11, NOW, &[7; 16], &noise).unwrap();
        list.push_str(&row(lane, seq, "file,siem", &"07".repeat(16), &noise));
        log.write_all(&mut packer, NOW);
        // A number that no record has.
        log.intake.append(0b11, NOW, &[8; 16], &vec![0; (1 << 20) + 1]).unwrap_err();
        let mut append = |events: usize, sinks: u16, made: &mut events::Events, list: &mut String| {
            for _ in 0..events {
                let event = made.telemetry();
                let mut record = Vec::new();
                canonical::encode(&event, &mut record).unwrap();
                let seq = log.intake.append(sinks, event.time_ns, &event.id.to_bytes(), &record).unwrap();
                list.push_str(&row(lane, seq, "file,siem", &event.id.to_string(), &record));
            }
            log.write_all(&mut packer, NOW);
            log.sync(NOW);
        };
        append(3, 0b11, &mut events, &mut list);
        // The books: `siem` has the first records but one, one is a dead letter, one was given back.
        let taken = log.take(1, 5, u64::MAX, NOW);
        let outcomes =
            [Outcome::Delivered, Outcome::Again, Outcome::DeadLetter, Outcome::Delivered, Outcome::Delivered];
        log.settle(1, taken.iter().map(|taken| taken.seq).zip(outcomes), NOW);
        log.keep(false, NOW);
        // As a kill leaves it: the last segment is open.
        std::fs::remove_file(root.join(lane.name()).join("LOCK")).unwrap();
    }
    std::fs::write(root.join("records.tsv"), list).unwrap();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn files_of_version_1_stay_readable() {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden(), dir.path());
    let list = std::fs::read_to_string(golden().join("records.tsv")).unwrap();
    let config =
        SpoolConfig { dir: dir.path().to_owned(), min_free_bytes: Some(0), ..SpoolConfig::default() };
    let spool = Spool::open(&config, &names()).unwrap();
    for lane in spool.status().lanes {
        let counters = lane.counters;
        let bad =
            (counters.bad_blocks, counters.state_slots_bad, counters.state_rebuilt, counters.quarantined);
        assert_eq!(bad, (0, 0, 0, 0), "{lane:#?}");
        let siem = lane.sinks.iter().find(|sink| sink.sink == "siem").unwrap();
        assert_eq!((siem.delivered, siem.dlq), (3, 1));
        let dropped: Vec<_> = siem.dropped.iter().map(|dropped| (dropped.reason, dropped.events)).collect();
        assert_eq!(dropped, [(Reason::Oversize, 1)]);
        assert!(siem.law_holds());
    }
    let mut decoded = 0;
    for (sink, settled) in [("file", 0), ("siem", 4)] {
        // Of each lane's records for `siem` the first, third, fourth and fifth are settled.
        let mut due = Vec::new();
        for lane in ["alert", "telemetry"] {
            let ours = |line: &&str| {
                let fields: Vec<&str> = line.split('\t').collect();
                fields[0] == lane && fields[2].split(',').any(|name| name == sink)
            };
            let rows: Vec<&str> = list.lines().filter(ours).collect();
            due.extend(
                rows.iter()
                    .enumerate()
                    .filter(|(at, _)| settled == 0 || *at == 1 || *at > 4)
                    .map(|(_, row)| *row),
            );
        }
        let reader = spool.reader(sink).unwrap();
        let mut found = String::new();
        loop {
            let records = reader.take(Lanes::Both, 7, u64::MAX);
            if records.is_empty() {
                break;
            }
            for record in &records {
                let row = row(record.lane(), record.seq(), "*", &record.id().to_string(), record.bytes());
                found.push_str(&row);
                let Ok(event) = canonical::decode(record.bytes()) else { continue };
                assert_eq!((event.id, event.time_ns), (record.id(), record.time_ns()));
                let mut document = Vec::new();
                encode::ecs(&event, &mut document);
                assert!(document.len() > 500);
                decoded += 1;
            }
            reader.settle(&records, records.iter().map(|_| Settled::Delivered)).unwrap();
        }
        let mut expected = String::new();
        for row in due {
            let mut fields: Vec<&str> = row.split('\t').collect();
            fields[2] = "*";
            writeln!(expected, "{}", fields.join("\t")).unwrap();
        }
        assert_eq!(found, expected, "{sink}");
    }
    assert!(decoded > 50, "{decoded}");
    spool.close();
}

#[test]
fn the_golden_files_have_every_codec_and_kind_of_file() {
    let (mut codecs, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for lane in ["alert", "telemetry"] {
        let storage = DirStorage::look(&golden(), lane).unwrap();
        for name in storage.list().unwrap() {
            let Some((_, sealed)) = parse_name(&name) else { continue };
            kinds.insert((lane, sealed));
            let file = storage.open(&name).unwrap();
            let header = read_header(&*file).unwrap().unwrap();
            for block in scan(&*file, &header).unwrap().footer.index {
                let offset = u64::from(block.offset);
                let bytes = read_exact(&*file, offset, usize::try_from(block.len).unwrap()).unwrap();
                let packed = decode_block(&bytes, &header.seed(), offset).unwrap();
                codecs.insert(packed.head.codec as u8);
            }
        }
    }
    assert_eq!(codecs, [Codec::None as u8, Codec::Zstd as u8, Codec::ZstdDictionary as u8].into());
    assert_eq!(kinds.len(), 4, "sealed and open in both lanes: {kinds:?}");
}
