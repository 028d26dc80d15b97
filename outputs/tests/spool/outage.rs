//! A destination that is away for longer than the spool can hold.

use crate::common::{alert, telemetry_of};
use crate::tools::{Door, Seen, config, names, now, quick, until};
use hostward_outputs::spool::{LaneConfig, Spool, SpoolConfig};
use hostward_outputs::{Lane, Outputs, Reason};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[test]
fn a_long_outage_costs_the_oldest_telemetry_in_exact_ranges_and_then_all_else_arrives() {
    let dir = tempfile::tempdir().unwrap();
    let telemetry = LaneConfig { max_bytes: Some(200_000), segment_bytes: 65_536, ..LaneConfig::default() };
    let spool_config = SpoolConfig { telemetry, ..config(dir.path()) };
    let spool = Arc::new(Spool::open(&spool_config, &names(&["away", "here"])).unwrap());
    let mut outputs = Outputs::with_spool(Arc::clone(&spool));
    let (door, seen) = (Arc::new(AtomicBool::new(false)), Seen::default());
    let (open, copy) = (Arc::clone(&door), Arc::clone(&seen));
    outputs.add("away".into(), "test", quick(), None, move || Door { open, seen: copy }).unwrap();
    let here = Seen::default();
    let (open, copy) = (Arc::new(AtomicBool::new(true)), Arc::clone(&here));
    outputs.add("here".into(), "test", quick(), None, move || Door { open, seen: copy }).unwrap();

    // Numbers of the telemetry lane are those of its events: alerts come apart, with numbers above.
    let events = 15_000;
    let alerts = 30;
    let mut sequence = 0;
    for n in 0..events {
        sequence += 1;
        outputs.push(&now(telemetry_of(sequence, 200)));
        if n % 500 == 0 {
            outputs.push(&now(alert(1_000_000 + n)));
        }
        if n % 64 == 0 {
            // The one that is here keeps up, whatever the other does.
            until("here keeps up", || (outputs.status()[1].queued < 500).then_some(()));
        }
    }
    let away = || outputs.status().remove(0);
    let kept_up = until("here has all", || {
        let status = outputs.status().remove(1);
        (status.delivered + status.dropped_events() == events + alerts).then_some(status)
    });
    assert_eq!(kept_up.dropped_events(), 0, "{kept_up:#?}");
    // The cap is looked at once a second.
    let lost = until("the cap holds", || {
        let status = spool.status();
        assert!(status.law_holds());
        (status.lanes[1].disk_bytes <= 200_000).then(away)
    });
    assert!(lost.dropped_events() > 0, "{lost:#?}");
    assert!(
        lost.dropped.iter().all(|d| (d.lane, d.reason) == (Lane::Telemetry, Reason::LaneFull)),
        "{lost:#?}"
    );

    door.store(true, Ordering::Relaxed);
    let end = until("away has the rest", || {
        let status = away();
        assert!(status.law_holds(), "{status:#?}");
        (status.queued + status.in_flight == 0).then_some(status)
    });
    assert_eq!(end.delivered + end.dropped_events(), events + alerts);
    let seen = seen.lock().unwrap().clone();
    let got: BTreeSet<u64> = seen.iter().filter(|(alert, _)| !alert).map(|(_, sequence)| *sequence).collect();
    assert_eq!(seen.len() as u64, end.delivered, "nothing twice");
    assert_eq!(seen.iter().filter(|(alert, _)| *alert).count() as u64, alerts, "no alert is lost");
    // All alerts that waited came before all telemetry but for what was in the batch that flew.
    let first_alert = seen.iter().position(|(alert, _)| *alert).unwrap();
    assert!(first_alert < 64, "alerts first: {first_alert}");
    assert!(seen[..64.max(first_alert)].iter().filter(|(alert, _)| *alert).count() >= 20);

    // The ranges are exactly what is missing.
    let mut missing: BTreeSet<u64> = (1..=events).filter(|sequence| !got.contains(sequence)).collect();
    for range in end.recent_drops.iter().filter(|range| range.reason == Reason::LaneFull) {
        let within: Vec<u64> = missing.range(range.first_sequence..=range.last_sequence).copied().collect();
        assert_eq!(within.len() as u64, range.events, "{range:?}");
        missing.retain(|sequence| !within.contains(sequence));
    }
    assert_eq!(missing, BTreeSet::new());
    let told: u64 =
        outputs.take_losses().iter().filter(|(sink, _)| sink == "away").map(|(_, r)| r.events).sum();
    assert_eq!(told, end.dropped_events());
    outputs.close(Duration::from_secs(20));
}
