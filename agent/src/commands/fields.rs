//! `hostward fields`: the registry, for people, scripts and the reference page.

use crate::cli;
use crate::exit::{Exit, Failure};
use crate::output::Printer;
use hostward_event::registry::{self, ArgKind, Field};
use serde::Serialize;
use std::fmt::Write as _;

#[derive(Serialize)]
struct Row {
    name: String,
    r#type: &'static str,
    events: Vec<&'static str>,
    source: &'static str,
    kernel_filter: bool,
    ecs: &'static str,
    ocsf: &'static str,
    meaning: &'static str,
}

fn row(field: &Field) -> Row {
    let bracket = match field.arg {
        ArgKind::None => "",
        ArgKind::OptionalIndex => "[n]",
        ArgKind::OptionalKey | ArgKind::Key => "[NAME]",
    };
    Row {
        name: format!("{}{bracket}", field.name),
        r#type: field.ty.name(),
        events: field.kinds.iter().map(|kind| kind.name()).collect(),
        source: field.need.name(),
        kernel_filter: field.kernel.is_some(),
        ecs: field.ecs,
        ocsf: field.ocsf,
        meaning: field.meaning,
    }
}

/// Prints the fields.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &cli::Fields) -> Result<Exit, Failure> {
    let word = args.word.as_deref().unwrap_or_default();
    let named = |field: &&Field| field.name.contains(word) || field.ecs.contains(word);
    let rows: Vec<Row> = registry::fields().iter().filter(named).map(row).collect();
    let mut out = Printer::default();
    if args.json {
        out.json(&rows)?;
    } else if args.markdown {
        out.text(&markdown(&rows))?;
    } else {
        out.text(&table(&rows))?;
    }
    Ok(Exit::Ok)
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
    let mut out = String::new();
    for row in rows {
        // Writing to a String cannot fail.
        let _ = write!(out, "{:<width$}  {:<8} {}", row.name, row.r#type, row.meaning);
        let _ = if row.ecs.is_empty() || row.ecs == row.name {
            writeln!(out)
        } else {
            writeln!(out, " (ECS {})", row.ecs)
        };
    }
    out
}

fn markdown(rows: &[Row]) -> String {
    let mut out = String::from(
        "# Fields\n\nMade by `hostward fields --markdown`; do not edit. Conditions may use the name or the ECS name.\n\n\
         | name | type | events | source | ECS | OCSF | meaning |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let all = hostward_event::EventKind::ALL.len();
    for row in rows {
        let events = if row.events.len() == all { "all".into() } else { row.events.join(", ") };
        let ecs = if row.ecs == row.name { "same" } else { row.ecs };
        let meaning = row.meaning.replace('|', "\\|");
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "| `{}` | {} | {events} | {} | {ecs} | {} | {meaning} |",
            row.name, row.r#type, row.source, row.ocsf
        );
    }
    out
}
