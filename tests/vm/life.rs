//! The package's life, and what it writes into the journal.

use crate::Machine;
use anyhow::{Context, Result, ensure};
use hostward_tests::guest::Ran;
use hostward_tests::{Feed, Part, Record, lacks};
use serde_json::Value;
use std::collections::BTreeSet;

/// Installs with apt, sees the service work, breaks it, removes it.
#[test]
fn package_lives_from_install_to_purge() -> Result<()> {
    if lacks(Part::Vm, "package_lives_from_install_to_purge") {
        return Ok(());
    }
    let ran = Machine::new()?.run("life.sh", &[])?;
    let feed = Feed::new(&ran.path()).records()?;
    let alerts: Vec<_> = feed.iter().filter(|record| record.text("event.kind") == Some("alert")).collect();
    let about = |field: &str, value: &str| alerts.iter().any(|alert| alert.text(field) == Some(value));
    ensure!(about("process.executable", "/tmp/canary"), "no alert of {} is about the canary", alerts.len());
    ensure!(about("file.path", "/etc/shadow"), "no alert of {} is about the password file", alerts.len());
    alerts_are_in_the_journal(&ran)
}

/// Each entry has the fields of `docs/specs/delivery.md`, and there are as many as the sink counted.
fn alerts_are_in_the_journal(ran: &Ran) -> Result<()> {
    let entries: Vec<Record> = ran
        .file("journal.json")?
        .lines()
        .map(|line| serde_json::from_str(line).map(Record).with_context(|| format!("no JSON: {line}")))
        .collect::<Result<_>>()?;
    let (alerts, own): (Vec<&Record>, Vec<&Record>) =
        entries.iter().partition(|entry| entry.text("HOSTWARD_EVENT_ID").is_some());

    let canary = alerts
        .iter()
        .find(|entry| {
            entry.text("HOSTWARD_RECORD").is_some_and(|record| record.contains("/tmp/canary-journal"))
        })
        .context("no entry is about the canary of the journal")?;
    let record: Record =
        serde_json::from_str(canary.text("HOSTWARD_RECORD").unwrap_or_default()).map(Record)?;
    ensure!(record.text("process.executable") == Some("/tmp/canary-journal"), "{record:?}");
    for (field, source) in [
        ("MESSAGE", "message"),
        ("HOSTWARD_EVENT_ID", "event.id"),
        ("HOSTWARD_RULE", "rule.name"),
        ("HOSTWARD_DATASET", "event.dataset"),
    ] {
        let (entry, record) = (canary.text(field), record.text(source));
        ensure!(entry.is_some() && entry == record, "{field} is {entry:?}, {source} {record:?}");
    }
    let action = record.texts("event.action").join(",");
    ensure!(canary.text("HOSTWARD_ACTION") == Some(&action), "{canary:?}");
    ensure!(canary.text("SYSLOG_IDENTIFIER") == Some("hostward"), "{canary:?}");
    ensure!(canary.text("MESSAGE_ID") == Some("4b3cf7b8a7dd4d878978430a6645fbc2"), "{canary:?}");
    let urgency = canary.text("PRIORITY").and_then(|text| text.parse::<u8>().ok());
    ensure!(urgency.is_some_and(|urgency| urgency < 6), "an alert is more than a remark: {canary:?}");
    // systemd says who wrote it; nobody else can.
    ensure!(canary.text("_SYSTEMD_UNIT") == Some("hostward.service"), "{canary:?}");

    let ids: BTreeSet<_> = alerts.iter().filter_map(|entry| entry.text("HOSTWARD_EVENT_ID")).collect();
    ensure!(ids.len() == alerts.len(), "{} entries of {} alerts", alerts.len(), ids.len());
    let written = u64::try_from(alerts.len())?;
    let [before, after] = [delivered(ran, "before.json")?, delivered(ran, "after.json")?];
    ensure!((before..=after).contains(&written), "{written} entries; delivered {before}, then {after}");

    // The agent's own log goes there as well, by its own way.
    let ready =
        own.iter().find(|entry| entry.text("MESSAGE").is_some_and(|text| text.starts_with("ready: ")));
    ready.context("the agent's own log is not in the journal")?;
    Ok(())
}

/// What the journal's sink delivered, by a status whose books must balance.
fn delivered(ran: &Ran, file: &str) -> Result<u64> {
    let status: Value = serde_json::from_str(&ran.file(file)?).with_context(|| file.to_owned())?;
    let sinks = status["sinks"].as_array().context("no sinks in the status")?;
    let sink = sinks.iter().find(|sink| sink["name"] == "journal").context("no sink of the journal")?;
    let number = |name: &str| sink[name].as_u64().with_context(|| format!("{name} in {sink}"));
    let dropped = sink["dropped"].as_array().map_or(0, Vec::len);
    let accounted = number("delivered")? + number("queued")? + number("in_flight")? + number("dlq")?;
    ensure!(dropped == 0 && number("accepted")? == accounted, "the books do not balance: {sink}");
    ensure!(sink["state"] == "ok" && sink["condition"] == "healthy", "{sink}");
    number("delivered")
}
