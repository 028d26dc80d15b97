//! `hostward spool`: what waits on disk, without asking the agent.

use super::check::refused;
use crate::cli;
use crate::config;
use crate::exit::{Exit, Failure};
use crate::output::Printer;
use crate::report::{age, when};
use hostward_outputs::Lane;
use hostward_outputs::spool::offline::{self, OfflineFailure, Selection};
use hostward_outputs::spool::{CursorStatus, LaneStatus, OpenFailure};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

/// Works on the spool that the configuration names.
///
/// # Errors
/// [`Exit::Config`] for a configuration that is wrong; [`Exit::Busy`] for what needs the agent to be stopped;
/// [`Exit::BadInput`] for damage that `check` finds.
pub fn run(verb: &cli::SpoolVerb) -> Result<Exit, Failure> {
    match verb {
        cli::SpoolVerb::Status(args) => status(args),
        cli::SpoolVerb::Check(args) => check(args),
        cli::SpoolVerb::Export(args) => export(args),
        cli::SpoolVerb::Repair(place) => repair(place),
        cli::SpoolVerb::Drop(args) => give_up(args),
    }
}

/// Where the spool lies.
fn root(place: &cli::SpoolPlace) -> Result<PathBuf, Failure> {
    let file =
        place.config.clone().or_else(|| Some(cli::CONFIG_FILE.into()).filter(|file: &PathBuf| file.exists()));
    let config = config::load(file.as_deref()).map_err(refused)?.config;
    let state_dir = place.state_dir.as_ref().unwrap_or(&config.agent.state_dir);
    let root = config.spool.resolved(state_dir).dir;
    if root.is_dir() {
        return Ok(root);
    }
    let message = format!("there is no spool at {}", root.display());
    Err(Failure::new(Exit::BadInput, message, "name its place with --config or --state-dir"))
}

fn failed(failure: OfflineFailure) -> Failure {
    let exit = match &failure {
        OfflineFailure::Open(OpenFailure::Held { .. }) => Exit::Busy,
        OfflineFailure::NoSink { .. } => Exit::Usage,
        OfflineFailure::Output(_) => Exit::CannotWrite,
        _ => Exit::BadInput,
    };
    Failure::new(exit, failure.to_string(), failure.hint())
}

fn status(args: &cli::SpoolStatus) -> Result<Exit, Failure> {
    let status = offline::status(&root(&args.place)?).map_err(failed)?;
    let mut out = Printer::default();
    if args.json {
        out.json(&status)?;
        return Ok(Exit::Ok);
    }
    for lane in &status.lanes {
        out.line(&lane_line(lane))?;
        for sink in &lane.sinks {
            out.line(&sink_line(sink))?;
            for dropped in sink.dropped.iter().filter(|dropped| dropped.events > 0) {
                out.line(&format!("    dropped {}: {}", dropped.events, dropped.reason.describe()))?;
            }
        }
    }
    Ok(Exit::Ok)
}

fn lane_line(lane: &LaneStatus) -> String {
    format!("{} lane: {} segments, {} KiB", lane.lane.name(), lane.segments, lane.disk_bytes.div_ceil(1024))
}

fn sink_line(sink: &CursorStatus) -> String {
    let oldest = sink.oldest_unix_ms.map_or_else(String::new, |ms| {
        let now_ms = crate::clock::wall_ns() / 1_000_000;
        format!(
            "; oldest {} ({})",
            age(now_ms.saturating_sub(ms).unsigned_abs()),
            when(ms.saturating_mul(1_000_000))
        )
    });
    format!(
        "  sink {}: {} accepted = {} delivered + {} waiting + {} in flight + {} dropped + {} dead letters{oldest}",
        sink.sink,
        sink.accepted,
        sink.delivered,
        sink.in_spool,
        sink.in_flight,
        sink.dropped_events(),
        sink.dlq
    )
}

fn check(args: &cli::SpoolStatus) -> Result<Exit, Failure> {
    let root = root(&args.place)?;
    let lanes = offline::check(&root).map_err(failed)?;
    let mut out = Printer::default();
    if args.json {
        out.json(&lanes)?;
    } else {
        for lane in &lanes {
            let word = if lane.is_whole() { "whole" } else { "DAMAGED" };
            let records: u64 = lane.files.iter().map(|file| file.records).sum();
            let name = lane.lane.name();
            out.line(&format!("{name} lane: {word}; {} segments, {records} events", lane.files.len()))?;
            if lane.no_state {
                out.line("  no valid state: the next start sends again what is there")?;
            }
            for file in lane.files.iter().filter(|file| !file.is_whole() || file.torn_bytes > 0) {
                let why = file.unreadable.map_or_else(
                    || format!("{} bad blocks, {} bytes of a torn end", file.bad_blocks, file.torn_bytes),
                    |why| format!("unreadable: {why}"),
                );
                out.line(&format!("  {}: {} events; {why}", file.name, file.records))?;
            }
        }
    }
    if lanes.iter().all(offline::LaneCheck::is_whole) {
        return Ok(Exit::Ok);
    }
    let hint =
        "the agent skips and counts what is damaged; `hostward spool repair` does so now, and keeps a backup";
    Err(Failure::new(Exit::BadInput, format!("{}: some of it is damaged", root.display()), hint))
}

fn export(args: &cli::SpoolExport) -> Result<Exit, Failure> {
    let root = root(&args.place)?;
    let selection = Selection { lane: args.lane.map(lane), sink: args.sink.clone() };
    let written = match &args.output {
        Some(path) => {
            let cannot = |error: std::io::Error| {
                Failure::new(
                    Exit::CannotWrite,
                    format!("cannot write {}: {error}", path.display()),
                    "name a new file",
                )
            };
            let mut file = BufWriter::new(std::fs::File::create_new(path).map_err(cannot)?);
            let written = offline::export(&root, &selection, &mut file).map_err(failed)?;
            file.flush().map_err(cannot)?;
            written
        }
        None => {
            let mut out = BufWriter::new(std::io::stdout().lock());
            let written = offline::export(&root, &selection, &mut out);
            match written.and_then(|written| Ok(out.flush().map(|()| written)?)) {
                // Whoever closed the pipe has seen enough.
                Err(OfflineFailure::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                    return Ok(Exit::Ok);
                }
                written => written.map_err(failed)?,
            }
        }
    };
    eprintln!(
        "{} events; {} records that cannot be decoded; {} blocks that cannot be read",
        written.events, written.undecodable, written.bad_blocks
    );
    Ok(Exit::Ok)
}

fn repair(place: &cli::SpoolPlace) -> Result<Exit, Failure> {
    let mut out = Printer::default();
    for lane in offline::repair(&root(place)?).map_err(failed)? {
        let name = lane.lane.name();
        match lane.backup {
            None => out.line(&format!("{name} lane: nothing to repair"))?,
            Some(backup) => out.line(&format!(
                "{name} lane: {} put right; as they were: {}",
                lane.files.join(", "),
                backup.display()
            ))?,
        }
    }
    Ok(Exit::Ok)
}

fn give_up(args: &cli::SpoolDrop) -> Result<Exit, Failure> {
    let root = root(&args.place)?;
    let lanes = args.lane.map_or_else(|| vec![Lane::Alert, Lane::Telemetry], |only| vec![lane(only)]);
    let mut out = Printer::default();
    for lane in lanes {
        let dropped = offline::drop_waiting(&root, lane, &args.sink).map_err(failed)?;
        out.line(&format!("{} lane: {dropped} events of sink {} dropped", lane.name(), args.sink))?;
    }
    Ok(Exit::Ok)
}

const fn lane(lane: cli::SpoolLane) -> Lane {
    match lane {
        cli::SpoolLane::Alert => Lane::Alert,
        cli::SpoolLane::Telemetry => Lane::Telemetry,
    }
}
