//! `hostward rules check` and `hostward rules list`

use crate::cli;
use crate::embedded;
use crate::exit::{Exit, Failure};
use crate::output::Printer;
use crate::policy;
use hostward_policy::Severity;
use serde::Serialize;

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
    if errors.is_empty() {
        out.line(&format!("ok: {} rules", loaded.rules.len()))?;
        return Ok(Exit::Ok);
    }
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let hint = format!("{} problems; {} rules load all the same", lines.len(), loaded.rules.len());
    Err(Failure::new(Exit::Config, lines.join("\n"), hint))
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
