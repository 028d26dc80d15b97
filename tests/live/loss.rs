//! What is lost is told, to the event.

use anyhow::{Result, ensure};
use hostward_tests::{Agent, Part, Record, Setup, child, lacks};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::process::Command;

/// By kind and CPU: the numbers that came, and those that gaps tell of.
type Numbers = BTreeMap<(String, i64), (Vec<i64>, Vec<(i64, i64)>)>;

fn kind(record: &Record) -> Option<&'static str> {
    let actions =
        [("exec", "exec"), ("fork", "fork"), ("end", "exit"), ("open", "open"), ("creation", "open")];
    actions.iter().find(|(action, _)| record.is(action)).map(|(_, kind)| *kind)
}

fn numbers(records: &[Record]) -> Numbers {
    let mut all = Numbers::new();
    for record in records.iter().filter(|r| r.text("event.kind") != Some("alert")) {
        if let (Some(kind), Some(cpu), Some(n)) =
            (kind(record), record.number("hostward.source.cpu"), record.number("hostward.source.sequence"))
        {
            all.entry((kind.into(), cpu)).or_default().0.push(n);
        }
        if let (Some(kind), Some(cpu), Some(first), Some(last)) = (
            record.text("hostward.gap.type"),
            record.number("hostward.gap.cpu"),
            record.number("hostward.gap.first"),
            record.number("hostward.gap.last"),
        ) {
            assert_eq!(record.number("hostward.gap.count"), Some(last - first + 1), "{record:?}");
            all.entry((kind.into(), cpu)).or_default().1.push((first, last));
        }
    }
    all
}

/// Every number from the first to the last is there once: as an event, or inside a gap.
fn whole(numbers: &Numbers) -> Result<()> {
    for (key, (came, gaps)) in numbers {
        let mut all: Vec<i64> = came.clone();
        all.extend(gaps.iter().flat_map(|(first, last)| *first..=*last));
        all.sort_unstable();
        for (n, next) in all.iter().zip(all.iter().skip(1)) {
            ensure!(n + 1 == *next, "{key:?}: after {n} comes {next}");
        }
    }
    Ok(())
}

/// Starts many programs, then ends the agent, which drains the rings and tells the last losses.
fn flooded(mut agent: Agent, times: usize) -> Result<Vec<Record>> {
    let script = format!("i=0; while [ $i -lt {times} ]; do /bin/true; i=$((i+1)); done");
    ensure!(Command::new("/bin/sh").args(["-c", &script]).status()?.success());
    ensure!(agent.stop()?.success(), "{}", agent.log());
    agent.feed().records()
}

#[test]
fn a_roomy_ring_loses_nothing() -> Result<()> {
    if lacks(Part::Kernel, "a_roomy_ring_loses_nothing") {
        return Ok(());
    }
    let records = flooded(Agent::start()?, 500)?;
    let numbers = numbers(&records);
    whole(&numbers)?;
    ensure!(numbers.values().all(|(_, gaps)| gaps.is_empty()), "a gap at a load of 500 execs");
    let execs = records.iter().filter(|r| r.is("exec") && r.text("process.name") == Some("true")).count();
    ensure!(execs >= 500, "{execs} of 500");
    Ok(())
}

#[test]
fn a_ring_that_overflows_tells_every_loss() -> Result<()> {
    if lacks(Part::Kernel, "a_ring_that_overflows_tells_every_loss") {
        return Ok(());
    }
    // One page holds one or two execs with their arguments.
    let agent =
        Setup::new()?.config("[sensor]\nprocess_ring_bytes = 4096\nbulk_ring_bytes = 4096\n")?.start()?;
    // While it does not read, as on an idle machine it would keep up.
    agent.signal(Signal::STOP)?;
    let flood = child::sh("i=0; while [ $i -lt 50 ]; do /bin/true; i=$((i+1)); done");
    agent.signal(Signal::CONT)?;
    flood?;
    let numbers = numbers(&flooded(agent, 250)?);
    whole(&numbers)?;
    let lost: i64 = numbers.values().flat_map(|(_, gaps)| gaps).map(|(first, last)| last - first + 1).sum();
    ensure!(lost > 0, "nothing was lost: the test does not test");
    Ok(())
}
