//! A filesystem that is full.

use crate::tools::{append, config, drain, id_of, names, noise, until};
use hostward_outputs::spool::{RingReason, Spool};
use hostward_outputs::{Lane, Reason};
use std::collections::BTreeSet;
use std::process::Command;

/// A tmpfs of its own, unmounted at the end.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", size, "hostward-test"]).arg(dir.path());
        mount.output().is_ok_and(|output| output.status.success()).then_some(Self(dir))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l"]).arg(self.0.path()).status();
    }
}

#[test]
fn a_full_filesystem_costs_the_oldest_telemetry_and_no_alert() {
    let Some(disk) = Tmpfs::mount("size=16m") else {
        let required =
            std::env::var("HOSTWARD_REQUIRE").is_ok_and(|parts| parts.split(',').any(|part| part == "root"));
        assert!(!required, "HOSTWARD_REQUIRE=root: cannot mount a tmpfs");
        eprintln!(
            "SKIPPED a_full_filesystem_costs_the_oldest_telemetry_and_no_alert: cannot mount a tmpfs (needs root)"
        );
        return;
    };
    let dir = disk.0.path();
    let mut config = config(dir);
    // The caps leave it to the filesystem.
    config.telemetry.max_bytes = Some(1 << 30);
    config.telemetry.segment_bytes = 1 << 20;
    config.alert.segment_bytes = 1 << 20;
    let spool = Spool::open(&config, &names(&["dest"])).unwrap();
    std::fs::write(dir.join("ballast"), vec![0; 8 << 20]).unwrap();

    let (mut id, mut alerts) = (0, BTreeSet::new());
    let mut full = 0;
    // Three times what there is room for, at a pace that the disk keeps.
    for round in 0..150 {
        for _ in 0..64 {
            id += 1;
            until("room in the buffer", || append(&spool, Lane::Telemetry, &["dest"], id, &noise(id, 2_000)));
        }
        id += 1;
        append(&spool, Lane::Alert, &["dest"], id, &noise(id, 500)).unwrap();
        alerts.insert(id);
        let status = spool.status();
        assert!(status.law_holds(), "{status:#?}");
        full += u32::from(matches!(status.lanes[1].degraded, Some((RingReason::Full, _))));
        if round % 5 == 0 {
            until("written", || (spool.status().lanes[1].intake_bytes == 0).then_some(()));
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
    assert!(full > 0, "the disk was never full: {:#?}", spool.status());
    until("written", || (spool.status().lanes.iter().all(|lane| lane.intake_bytes == 0)).then_some(()));
    let status = spool.status();
    let (alert, telemetry) = (&status.lanes[0].sinks[0], &status.lanes[1].sinks[0]);
    assert_eq!(alert.dropped_events(), 0, "no alert is lost: {status:#?}");
    assert!(telemetry.dropped_events() > 0);
    for dropped in &telemetry.dropped {
        assert!(matches!(dropped.reason, Reason::DiskFull | Reason::Overrun), "{dropped:?}");
    }

    std::fs::remove_file(dir.join("ballast")).unwrap();
    until("both lanes write again", || {
        spool.status().lanes.iter().all(|lane| lane.degraded.is_none()).then_some(())
    });
    id += 1;
    append(&spool, Lane::Telemetry, &["dest"], id, &noise(id, 2_000)).unwrap();
    let reader = spool.reader("dest").unwrap();
    let there: BTreeSet<u64> = drain(&spool, &reader).iter().map(|(_, record)| id_of(record)).collect();
    assert!(alerts.is_subset(&there));
    let books = reader.books();
    let told = books[1].dropped_events();
    assert_eq!(there.len() as u64, id - told, "what was not told to be lost is there");
    assert!(there.contains(&id));
    spool.close();
}
