//! A flood against a small ring: what is loud is limited and counted, what is quiet is told, and it ends.

use anyhow::{Context, Result, ensure};
use hostward_tests::{Agent, Part, Record, Setup, child, lacks, until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{sleep, spawn};
use std::time::Duration;

/// Opens of this directory are what an own rule wants.
fn rules(place: &Path) -> String {
    format!(
        "- rule: Watched\n  desc: d\n  condition: evt.type in (open, openat) and evt.is_open_read = true and fd.name startswith {}\n  output: o\n  priority: NOTICE\n",
        place.display()
    )
}

const CONFIG: &str =
    "[sensor]\nbulk_ring_bytes = 4096\n[sensor.degrade]\nafter_s = 1\nevents_per_process = 5\ncalm_s = 3\n";

fn report(agent: &Agent) -> Result<Value> {
    Ok(serde_json::from_slice(&agent.status()?.stdout)?)
}

/// State of stage "observe event", and what it complains of.
fn complaints(report: &Value) -> String {
    let stages = report.get("stages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let observe = stages.iter().find(|stage| stage.get("stage").is_some_and(|name| name == "observe_event"));
    let part = |key| observe.and_then(|stage| stage.get(key)).map(ToString::to_string).unwrap_or_default();
    format!("{} {}", part("state"), part("why"))
}

/// Opens that were left out.
fn sampled(report: &Value) -> u64 {
    let kinds = report.get("kernel").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let opens = kinds.iter().filter(|kind| kind.get("kind").is_some_and(|name| name == "open"));
    opens.filter_map(|kind| kind.get("sampled")?.as_u64()).sum()
}

/// Of what was left out every number from the first is in one gap.
fn whole(records: &[Record]) -> Result<()> {
    let mut all: BTreeMap<(i64, i64), Vec<i64>> = BTreeMap::new();
    for gap in records.iter().filter(|r| r.text("hostward.gap.type") == Some("open")) {
        let number = |field: &str| gap.number(field).context(field.to_owned());
        if gap.text("hostward.gap.reason") == Some("sampled") {
            let key = (number("hostward.gap.stream")?, number("hostward.gap.cpu")?);
            all.entry(key).or_default().extend(number("hostward.gap.first")?..=number("hostward.gap.last")?);
        }
    }
    for (key, mut numbers) in all {
        numbers.sort_unstable();
        let expected: Vec<i64> = (0..).take(numbers.len()).collect();
        ensure!(numbers == expected, "{key:?}: a number is told twice or not at all");
    }
    Ok(())
}

#[test]
fn a_flood_is_limited_counted_and_forgiven() -> Result<()> {
    if lacks(Part::Kernel, "a_flood_is_limited_counted_and_forgiven") {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let place = dir.path().join("flooded-place");
    fs::create_dir(&place)?;
    fs::write(place.join("loud"), "x")?;
    fs::write(place.join("quiet"), "x")?;
    let setup = Setup::new()?.config(CONFIG)?;
    let mut agent = setup.rules(&rules(&place))?.start()?;
    let stop: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    let file = place.join("loud");
    let flood = spawn(move || {
        // Each burst is several times what the ring holds; without a pause between them what the agent did read would
        // keep a debug build busy for long after the end.
        while !stop.load(Ordering::Relaxed) {
            for _ in 0..100 {
                drop(File::open(&file));
            }
            sleep(Duration::from_millis(20));
        }
    });
    until("the agent to limit the flood", Duration::from_secs(30), || {
        let report = report(&agent)?;
        let told = complaints(&report);
        Ok((told.contains("degraded") && told.contains("open_read") && sampled(&report) > 0).then_some(()))
    })?;
    // Let what lies in the ring go, then be quiet beside the loud one.
    sleep(Duration::from_secs(1));
    let quiet = place.join("quiet");
    let quiet_pid = child::run("/bin/cat", &[&quiet])?.pid;
    ensure!(complaints(&report(&agent)?).contains("open_read"), "the flood goes on, and so does the limit");
    stop.store(true, Ordering::Relaxed);
    ensure!(flood.join().is_ok());
    until("the agent to lift the limit", Duration::from_secs(30), || {
        Ok(complaints(&report(&agent)?).starts_with("\"ok\"").then_some(()))
    })?;
    // A process may tell more than the limit again.
    let again = child::sh(&format!("for i in 1 2 3 4 5 6 7 8 9; do : < {}; done", quiet.display()))?;
    let at_end = sampled(&report(&agent)?);
    ensure!(agent.stop()?.success(), "{}", agent.log());
    let records = agent.feed().records()?;
    let alerts = |pid: u32| {
        let own = |r: &&Record| r.is_alert_of("Watched") && r.number("process.pid") == Some(pid.into());
        records.iter().filter(own).count()
    };
    ensure!(alerts(quiet_pid) == 1, "a quiet process is told beside a loud one");
    let again = alerts(again.pid);
    ensure!(again == 9, "{again} of 9 after the overload");

    for action in ["overload", "overload_ended"] {
        ensure!(records.iter().any(|r| r.is(action)), "no event {action}");
    }
    whole(&records)?;
    let left_out: i64 = records
        .iter()
        .filter(|r| r.text("hostward.gap.reason") == Some("sampled"))
        .filter_map(|r| r.number("hostward.gap.count"))
        .sum();
    assert_eq!(left_out, i64::try_from(at_end)?, "each event that was left out is in a gap");
    let processes = ["exec", "fork", "exit"];
    let lost = records.iter().filter(|r| r.text("hostward.gap.type").is_some_and(|t| processes.contains(&t)));
    assert_eq!(lost.count(), 0, "a flood of opens costs no process");
    Ok(())
}
