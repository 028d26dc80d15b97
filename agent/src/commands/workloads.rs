//! `hostward workloads`: what runs here, and who says so.

use crate::admin::{self, Request};
use crate::cli;
use crate::exit::{Exit, Failure};
use crate::output::Printer;
use crate::workloads::{Origin, Row, Workloads};
use std::fmt::Write as _;

/// Prints the list.
///
/// # Errors
/// [`Exit::NotRunning`] and what [`admin::connect`] says.
pub fn run(args: &cli::Status) -> Result<Exit, Failure> {
    let mut client = admin::connect(&args.runtime_dir, &Request::Workloads)?;
    let found: Workloads = client
        .next()?
        .ok_or_else(|| Failure::new(Exit::NotRunning, "the agent is too busy to answer", "try again"))?;
    let mut out = Printer::default();
    if args.json {
        out.json(&found)?;
    } else {
        out.text(&table(&found))?;
    }
    Ok(Exit::Ok)
}

fn table(found: &Workloads) -> String {
    let mut rows = vec![["WORKLOAD", "PROCESSES", "IMAGE", "OWNER", "TOLD BY"].map(str::to_owned)];
    rows.extend(found.workloads.iter().map(cells));
    let widths: Vec<usize> = (0..5)
        .map(|n| rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out.push('\n');
    if found.sources.is_empty() {
        out.push_str(
            "no container runtime and no Kubernetes API was found; [runtime] and [kubernetes] name them\n",
        );
    }
    for Origin { source, at, state, why, containers, pods } in &found.sources {
        let _ = writeln!(out, "{source} {at}: {state}, {containers} containers, {pods} pods; {why}");
    }
    out
}

fn cells(row: &Row) -> [String; 5] {
    let processes = row.processes.to_string();
    let Some(container) = &row.container else {
        let name = if row.unit.is_empty() { &row.cgroup } else { &row.unit };
        return [name.clone(), processes, String::new(), String::new(), "cgroup".to_owned()];
    };
    let id: String = container.id.chars().take(12).collect();
    let pod = row.pod.as_ref().filter(|pod| !pod.name.is_empty());
    let name = match (pod, container.name.as_str()) {
        (Some(pod), name) => {
            format!("{}/{}/{}", pod.namespace, pod.name, if name.is_empty() { &id } else { name })
        }
        (None, "") => id,
        (None, name) => name.to_owned(),
    };
    let owner = pod.and_then(|pod| pod.owners.last()).cloned().unwrap_or_default();
    let mut told = vec!["cgroup"];
    told.extend([Some(container.source.as_str()), pod.map(|pod| pod.source.as_str())].into_iter().flatten());
    told.retain(|source| !source.is_empty());
    told.dedup();
    [name, processes, container.image.clone(), owner, told.join(", ")]
}
