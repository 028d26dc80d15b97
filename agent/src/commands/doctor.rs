//! `hostward doctor`: what this host offers, what is missing, and what to do.

use crate::cli;
use crate::commands::check::refused;
use crate::config::{self, Config};
use crate::exit::{Exit, Failure};
use crate::output::Printer;
use crate::policy::{Policy, Sources};
use hostward_sensor::{Check, Level, Preflight, ProbeState, ProbeStatus, Sensor};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

#[derive(Serialize)]
struct CheckRow {
    name: &'static str,
    level: &'static str,
    found: String,
    hint: &'static str,
}

#[derive(Serialize)]
struct ProbeRow {
    event: &'static str,
    hook: String,
    rung: &'static str,
    status: &'static str,
    why: String,
    /// Why no better rung sees the event.
    passed: String,
    verified_instructions: Option<u32>,
}

#[derive(Serialize)]
struct Findings {
    checks: Vec<CheckRow>,
    ladder: Vec<ProbeRow>,
    notes: Vec<String>,
    /// Why the sensor did not load; none: it did, or was not tried.
    refused: Option<String>,
}

/// Looks at the host and tries the programs; they are gone again when this returns. What an agent has pinned stays.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &cli::Doctor) -> Result<Exit, Failure> {
    let preflight = Preflight::run();
    let mut findings = Findings {
        checks: preflight.checks.iter().map(row).collect(),
        ladder: Vec::new(),
        notes: Vec::new(),
        refused: None,
    };
    if !args.no_load {
        try_sensor(args.config.as_deref(), &mut findings);
    }
    let mut out = Printer::default();
    if args.json {
        out.json(&findings)?;
    } else {
        out.text(&text(&findings))?;
    }
    let blind = findings.ladder.iter().any(|probe| probe.status == ProbeStatus::Refused.name());
    Ok(match preflight.worst() {
        _ if findings.refused.is_some() => Exit::CannotSense,
        Level::Fail => Exit::CannotSense,
        Level::Warn => Exit::Degraded,
        Level::Ok if blind => Exit::Degraded,
        Level::Ok => Exit::Ok,
    })
}

/// Loads every program once, as the configuration and its rules want them; where these cannot be read, as the embedded.
fn try_sensor(config: Option<&Path>, findings: &mut Findings) {
    let configured = config::load(config).map_err(refused).and_then(|loaded| policy(loaded.config));
    let (config, policy) = match configured {
        Ok(found) => found,
        Err(failure) => {
            findings.notes.push(format!("tried with the embedded configuration: {failure}"));
            match policy(Config::default()) {
                Ok(found) => found,
                Err(failure) => return findings.refused = Some(failure.to_string()),
            }
        }
    };
    findings.notes.extend(hostward_sensor::pinned_at(&config.sensor));
    match Sensor::load_apart(&config.sensor, &policy.plan) {
        Ok(sensor) => {
            let verified = sensor.verified_instructions();
            findings.ladder = sensor.ladder().into_iter().map(|probe| probe_row(probe, &verified)).collect();
            findings.notes.extend_from_slice(sensor.notes());
        }
        Err(error) => findings.refused = Some(format!("{error}; {}", error.hint())),
    }
}

fn policy(config: Config) -> Result<(Config, Policy), Failure> {
    let policy = Sources::new(&config, &[]).load(&config)?;
    Ok((config, policy))
}

/// What a probe of this rung costs those that it does not look at; measured in docs/performance.md.
fn cost(rung: &str) -> &'static str {
    match rung {
        "syscall_tracepoint" => "while one is attached, each system call of the host takes some 30 ns longer",
        "cgroup" => "each UDP send, with DNS each packet, takes some 0.2 to 0.4 µs longer",
        _ => "nothing for what it does not look at",
    }
}

fn row(check: &Check) -> CheckRow {
    CheckRow { name: check.name, level: check.level.name(), found: check.found.clone(), hint: check.hint }
}

fn probe_row(probe: ProbeState, verified: &[(String, u32)]) -> ProbeRow {
    let count = verified.iter().find(|(name, _)| *name == probe.program).map(|(_, count)| *count);
    ProbeRow {
        event: probe.kind.name(),
        hook: probe.hook.into_owned(),
        rung: probe.rung.name(),
        status: probe.status.name(),
        why: probe.why,
        passed: probe.passed,
        verified_instructions: count,
    }
}

fn text(findings: &Findings) -> String {
    let mut out = String::from("this host\n");
    // Writing to a String cannot fail.
    for check in &findings.checks {
        let _ = writeln!(out, "  {:<5} {:<14} {}", check.level, check.name, check.found);
        if !check.hint.is_empty() {
            let _ = writeln!(out, "  {:<5} {:<14} -> {}", "", "", check.hint);
        }
    }
    if let Some(why) = &findings.refused {
        let _ = writeln!(out, "sensor\n  fail  {why}");
    }
    if !findings.ladder.is_empty() {
        let _ = writeln!(
            out,
            "sensor\n  {:<18} {:<28} {:<20} {:<9} verified instructions",
            "event", "hook", "rung", "status"
        );
    }
    // What nobody wants is told in one line.
    let (unwanted, rows): (Vec<_>, Vec<_>) =
        findings.ladder.iter().partition(|probe| probe.status == ProbeStatus::Unwanted.name());
    for probe in rows {
        let count = probe.verified_instructions.map(|count| count.to_string()).unwrap_or_default();
        let _ = writeln!(
            out,
            "  {:<18} {:<28} {:<20} {:<9} {count} {}",
            probe.event, probe.hook, probe.rung, probe.status, probe.why
        );
    }
    let attached = findings.ladder.iter().filter(|probe| probe.status == ProbeStatus::Attached.name());
    let rungs: BTreeSet<&str> = attached.map(|probe| probe.rung).collect();
    for rung in rungs {
        let _ = writeln!(out, "  cost of {rung}: {}", cost(rung));
    }
    let mut passed: Vec<&str> = findings.ladder.iter().map(|probe| probe.passed.as_str()).collect();
    passed.sort_unstable();
    passed.dedup();
    for why in passed.into_iter().filter(|why| !why.is_empty()) {
        let _ = writeln!(out, "  no rung above syscall_tracepoint: {why}");
    }
    if !unwanted.is_empty() {
        let mut names: Vec<&str> = unwanted.iter().map(|probe| probe.event).collect();
        // Some events have two hooks.
        names.dedup();
        let _ = writeln!(out, "  no rule or telemetry stream wants: {}", names.join(" "));
    }
    for note in &findings.notes {
        let _ = writeln!(out, "  note: {note}");
    }
    out
}
