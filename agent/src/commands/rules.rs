//! `hostward rules check` and `hostward rules list`

use crate::cli;
use crate::commands::rules_test;
use crate::config::Config;
use crate::embedded;
use crate::exit::{Exit, Failure};
use crate::output::Printer;
use crate::policy::{self, Sources};
use hostward_event::EventKind;
use hostward_policy::{Rule, RuleSet, Severity};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// Checks files; tells every problem.
///
/// # Errors
/// [`Exit::Config`] when a rule does not load or a file cannot be read.
pub fn check(args: &cli::RulesCheck) -> Result<Exit, Failure> {
    let loaded = hostward_policy::check(&policy::read(&args.paths)?);
    let (errors, notes): (Vec<_>, Vec<_>) =
        loaded.problems.iter().partition(|problem| problem.severity == Severity::Error);
    let mut out = Printer::default();
    for note in notes {
        out.line(&format!("note: {note}"))?;
    }
    for line in unseen(&loaded.rules) {
        out.line(&format!("note: {line}"))?;
    }
    if let Some(capture) = &args.capture {
        for line in rates(args, capture)? {
            out.line(&line)?;
        }
    }
    if errors.is_empty() {
        out.line(&format!("ok: {} rules", loaded.rules.len()))?;
        return Ok(Exit::Ok);
    }
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let hint = format!("{} problems; {} rules load all the same", lines.len(), loaded.rules.len());
    Err(Failure::new(Exit::Config, lines.join("\n"), hint))
}

/// Rules of which no probe of this host sees any event.
fn unseen(rules: &RuleSet) -> Vec<String> {
    let lacking = hostward_sensor::unobservable();
    let lacks = |kind| lacking.iter().find(|(lacking, _)| *lacking == kind);
    let of = |rule: &Rule| {
        let kinds: Vec<EventKind> = rule.kinds().iter().collect();
        let reasons: Option<Vec<_>> = kinds.iter().map(|kind| lacks(*kind)).collect();
        let reasons = reasons.filter(|reasons| !reasons.is_empty())?;
        let words: BTreeSet<String> =
            reasons.iter().map(|(kind, why)| format!("{}: {why}", kind.name())).collect();
        let words = words.into_iter().collect::<Vec<_>>().join("; ");
        Some(format!("rule `{}` sees nothing on this host: {words}", rule.info.name))
    };
    rules.iter().filter_map(of).collect()
}

/// What each rule looks at and matches of a capture, the busiest first.
fn rates(args: &cli::RulesCheck, capture: &Path) -> Result<Vec<String>, Failure> {
    let config = Config::default();
    let policy = Arc::new(Sources::rules_alone(&args.paths).load(&config)?);
    let took = rules_test::play(capture, policy.clone(), &config, drop)?;
    let seconds = took.as_secs_f64().max(1e-3);
    let mut rows: Vec<(f64, f64, String)> = policy
        .rules
        .iter()
        .filter_map(|rule| {
            let name = rule.info.name.to_string();
            let (events, matches) = policy.rules.counted(&name)?;
            Some((events as f64 / seconds, matches as f64 / seconds, name))
        })
        .collect();
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let head = format!("events and matches a second, by {} of {seconds:.0} s:", capture.display());
    let line = |(events, matches, name): (f64, f64, String)| format!("{events:>10.1} {matches:>10.2} {name}");
    Ok(std::iter::once(head).chain(rows.into_iter().map(line)).collect())
}

#[derive(Serialize)]
struct Row {
    name: String,
    priority: &'static str,
    enabled: bool,
    techniques: Vec<String>,
    source: String,
    description: String,
}

/// Lists rules.
///
/// # Errors
/// [`Exit::Config`] when a file cannot be read.
pub fn list(args: &cli::RulesList) -> Result<Exit, Failure> {
    let files = if args.paths.is_empty() { embedded::rules() } else { policy::read(&args.paths)? };
    let loaded = hostward_policy::load(&files);
    let rows: Vec<Row> = loaded
        .rules
        .iter()
        .map(|rule| Row {
            name: rule.info.name.to_string(),
            priority: rule.info.priority.name(),
            enabled: rule.enabled,
            techniques: rule.info.technique_ids.iter().map(ToString::to_string).collect(),
            source: rule.info.source.to_string(),
            description: rule.info.description.to_string(),
        })
        .collect();
    let mut out = Printer::default();
    if args.json {
        out.json(&rows)?;
    } else {
        let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or_default();
        for row in &rows {
            let off = if row.enabled { "" } else { " (off)" };
            out.line(&format!(
                "{:<13} {:<width$} {}{off}",
                row.priority,
                row.name,
                row.techniques.join(" ")
            ))?;
        }
    }
    for problem in &loaded.problems {
        eprintln!("hostward: {problem}");
    }
    Ok(Exit::Ok)
}
