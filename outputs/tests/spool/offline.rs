//! What a person does to a spool without an agent.

use crate::common::sequences;
use crate::events::Events;
use crate::tools::{GRACE, append, config, drain, names, until};
use hostward_event::canonical;
use hostward_outputs::spool::offline::{self, OfflineFailure, Selection};
use hostward_outputs::spool::{LaneConfig, LaneStatus, Lanes, OpenFailure, Settled, Spool, SpoolConfig};
use hostward_outputs::{Lane, Reason};
use std::path::{Path, PathBuf};

fn small(dir: &Path) -> SpoolConfig {
    let segment_bytes = 65_536;
    SpoolConfig { telemetry: LaneConfig { segment_bytes, ..LaneConfig::default() }, ..config(dir) }
}

/// 400 events and 5 alerts for two sinks, one of which took the alerts and 100 events.
fn filled(dir: &Path) -> Spool {
    let spool = Spool::open(&small(dir), &names(&["one", "two"])).unwrap();
    let mut events = Events::new(1);
    for n in 0..405 {
        let event = if n % 81 == 0 { events.alert() } else { events.telemetry() };
        let lane = if event.alert.is_some() { Lane::Alert } else { Lane::Telemetry };
        let mut record = Vec::new();
        canonical::encode(&event, &mut record).unwrap();
        append(&spool, lane, &["one", "two"], event.sequence, &record).unwrap();
        if n % 20 == 0 {
            // Several blocks, so that there are several segments.
            until("written", || (spool.status().lanes[1].intake_bytes == 0).then_some(()));
        }
    }
    let reader = spool.reader("one").unwrap();
    until("written", || (reader.backlog().telemetry.events == 400).then_some(()));
    let mut taken = 0;
    while taken < 105 {
        let records = reader.take(Lanes::Both, 105 - taken, u64::MAX);
        taken += records.len();
        reader.settle(&records, records.iter().map(|_| Settled::Delivered)).unwrap();
    }
    // What waits for the writer waits for the sink, too: look only when all of it is in the files.
    let written = |lane: &LaneStatus| lane.durable_seq >= lane.next_seq;
    until("all of it on disk", || spool.status().lanes.iter().all(written).then_some(()));
    spool
}

fn root(dir: &Path) -> PathBuf {
    dir.join("spool")
}

fn exported(dir: &Path, selection: &Selection) -> (offline::Exported, Vec<u64>) {
    let mut out = Vec::new();
    let exported = offline::export(&root(dir), selection, &mut out).unwrap();
    (exported, sequences(&out))
}

#[test]
fn looking_works_beside_an_agent_and_changing_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let spool = filled(dir.path());
    let held = |failure: OfflineFailure| match failure {
        OfflineFailure::Open(OpenFailure::Held { pid, .. }) => {
            assert_eq!(pid, std::process::id().to_string())
        }
        other => panic!("{other}"),
    };
    held(offline::repair(&root(dir.path())).unwrap_err());
    held(offline::drop_waiting(&root(dir.path()), Lane::Alert, "two").unwrap_err());
    let checks = offline::check(&root(dir.path())).unwrap();
    assert!(checks.iter().all(offline::LaneCheck::is_whole), "{checks:#?}");
    assert_eq!(exported(dir.path(), &Selection::default()).0.events, 405);
    assert!(spool.close(GRACE));
}

#[test]
fn status_check_and_export_agree_with_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    assert!(filled(dir.path()).close(GRACE));
    let status = offline::status(&root(dir.path())).unwrap();
    assert!(status.law_holds());
    let one: Vec<(u64, u64, u64)> =
        status.of("one").map(|(_, books)| (books.accepted, books.delivered, books.in_spool)).collect();
    assert_eq!(one, [(5, 5, 0), (400, 100, 300)]);

    let checks = offline::check(&root(dir.path())).unwrap();
    let records: Vec<u64> =
        checks.iter().map(|lane| lane.files.iter().map(|file| file.records).sum()).collect();
    assert_eq!(records, [5, 400]);
    assert!(checks[1].files.len() > 1, "{checks:#?}");
    assert!(checks.iter().all(offline::LaneCheck::is_whole), "{checks:#?}");

    let (all, lines) = exported(dir.path(), &Selection::default());
    assert_eq!((all.events, all.undecodable, all.bad_blocks), (405, 0, 0));
    assert_eq!(lines[..5], [1, 82, 163, 244, 325], "alerts first");
    let two = Selection { lane: Some(Lane::Alert), sink: Some("two".to_owned()) };
    assert_eq!(exported(dir.path(), &two).1, [1, 82, 163, 244, 325]);
    let rest = exported(dir.path(), &Selection { lane: None, sink: Some("one".to_owned()) });
    assert_eq!(rest.0.events, 300);
    assert_eq!(rest.1.last(), lines.last());
    // Looking changed nothing.
    assert_eq!(offline::status(&root(dir.path())).unwrap(), status);
    let unknown = Selection { lane: None, sink: Some("three".to_owned()) };
    let failure = offline::export(&root(dir.path()), &unknown, &mut Vec::new()).unwrap_err();
    assert!(failure.to_string().contains("\"three\"; it has one, two"), "{failure}");
    let nowhere = offline::check(&dir.path().join("nowhere")).unwrap_err();
    assert!(nowhere.to_string().contains("nowhere/alert"), "{nowhere}");
}

#[test]
fn an_operator_drops_what_waits_and_the_next_agent_tells_it() {
    let dir = tempfile::tempdir().unwrap();
    assert!(filled(dir.path()).close(GRACE));
    assert_eq!(offline::drop_waiting(&root(dir.path()), Lane::Telemetry, "one").unwrap(), 300);
    assert_eq!(offline::drop_waiting(&root(dir.path()), Lane::Telemetry, "one").unwrap(), 0);
    let spool = Spool::open(&small(dir.path()), &names(&["one", "two"])).unwrap();
    let losses = spool.take_losses();
    let told: Vec<_> =
        losses.iter().map(|(sink, range)| (sink.as_str(), range.reason, range.events)).collect();
    assert_eq!(told, [("one", Reason::Operator, 300)]);
    assert_eq!(drain(&spool, &spool.reader("one").unwrap()), []);
    assert_eq!(drain(&spool, &spool.reader("two").unwrap()).len(), 405);
    assert!(spool.close(GRACE));
}

#[test]
fn repair_keeps_a_copy_and_costs_what_is_bad() {
    let dir = tempfile::tempdir().unwrap();
    assert!(filled(dir.path()).close(GRACE));
    let before = offline::check(&root(dir.path())).unwrap();
    assert_eq!(
        offline::repair(&root(dir.path())).unwrap().iter().filter_map(|lane| lane.backup.clone()).count(),
        0
    );
    // One byte in the middle of a segment that has a footer, and rubbish behind the last.
    let sealed = before[1].files.iter().find(|file| file.sealed && file.blocks > 2).unwrap();
    let path = root(dir.path()).join("telemetry").join(&sealed.name);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&path, &bytes).unwrap();

    let checks = offline::check(&root(dir.path())).unwrap();
    assert!(checks[0].is_whole() && !checks[1].is_whole());
    let bad = checks[1].files.iter().find(|file| file.name == sealed.name).unwrap();
    assert_eq!((bad.bad_blocks, bad.blocks), (1, sealed.blocks - 1));
    let lost = sealed.records - bad.records;
    assert_eq!(exported(dir.path(), &Selection::default()).0.bad_blocks, 1);

    let repaired = offline::repair(&root(dir.path())).unwrap();
    assert_eq!(
        (repaired[0].files.len(), repaired[1].files.as_slice()),
        (0, std::slice::from_ref(&sealed.name))
    );
    let copy = repaired[1].backup.as_ref().unwrap().join(&sealed.name);
    assert_eq!(std::fs::read(copy).unwrap(), bytes);
    assert!(offline::status(&root(dir.path())).unwrap().law_holds());
    let again = offline::check(&root(dir.path())).unwrap();
    assert!(again.iter().all(offline::LaneCheck::is_whole), "{again:#?}");

    let spool = Spool::open(&small(dir.path()), &names(&["one", "two"])).unwrap();
    assert_eq!(drain(&spool, &spool.reader("two").unwrap()).len() as u64, 405 - lost);
    let books = spool.reader("two").unwrap().books();
    assert_eq!((books[1].dropped_events(), books[1].accepted), (lost, 400), "{books:#?}");
    assert_eq!(books[1].dropped[0].reason, Reason::Damaged);
    assert!(spool.close(GRACE));
}
