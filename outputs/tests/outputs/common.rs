//! Events, and waiting for a state with a deadline.

use hostward_event::event::{Actor, Alert, Body, Mode, Priority, RuleInfo, Surroundings};
use hostward_event::fact::Outcome;
use hostward_event::process::Process;
use hostward_event::raw::Args;
use hostward_event::{Event, EventKind, IdMint, Text};
use hostward_outputs::{Outputs, SinkStatus};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A fork by a process with about `filler` bytes of arguments.
pub(crate) fn telemetry_of(sequence: u64, filler: usize) -> Arc<Event> {
    let args = Args { raw: Text::from(vec![b'x'; filler]), total_bytes: u32::try_from(filler).unwrap() };
    let process = Process { pid: 7, comm: Text::from("worker"), args, ..Process::default() };
    Arc::new(Event {
        id: IdMint::new("m", "b").event(EventKind::Fork, 0, sequence, 0),
        sequence,
        time_ns: 0,
        created_ns: 0,
        source: None,
        tid: 7,
        process: Some(Arc::new(process)),
        lineage: Arc::default(),
        session_leader: None,
        around: Arc::new(Surroundings::default()),
        body: Body::Fork,
        partial: false,
        program: None,
        inside: None,
        domain: None,
        alert: None,
    })
}

pub(crate) fn telemetry(sequence: u64) -> Arc<Event> {
    telemetry_of(sequence, 100)
}

pub(crate) fn alert(sequence: u64) -> Arc<Event> {
    let trigger = telemetry(sequence);
    let rule = RuleInfo {
        name: Text::from("r"),
        description: Text::EMPTY,
        priority: Priority::Critical,
        tags: Vec::new(),
        technique_ids: Vec::new(),
        tactics: Vec::new(),
        source: Text::EMPTY,
        file_hash: Text::EMPTY,
        output_fields: Vec::new(),
    };
    let alert = Alert {
        trigger: trigger.id,
        rule: Arc::new(rule),
        message: Text::from("m"),
        response: Text::EMPTY,
        owner: Text::EMPTY,
        mode: Mode::Monitor,
        action: hostward_event::event::Action::Alert,
        actor: Actor::None,
        outcome: Outcome::Alerted,
        detail: Text::EMPTY,
        matched_ns: 0,
        responded_ns: 0,
    };
    Arc::new(Event { alert: Some(Arc::new(alert)), ..Event::clone(&trigger) })
}

/// The only sink's status; the law is asserted at every reading.
pub(crate) fn status(outputs: &Outputs) -> SinkStatus {
    let status = outputs.status().into_iter().next().unwrap();
    assert!(status.law_holds(), "the law is broken: {status:#?}");
    status
}

/// Waits until `is` holds for the only sink.
pub(crate) fn wait(outputs: &Outputs, what: &str, is: impl Fn(&SinkStatus) -> bool) -> SinkStatus {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let status = status(outputs);
        if is(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}: {status:#?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The `event.sequence` of each line; panics when a line is no whole JSON.
pub(crate) fn sequences(bytes: &[u8]) -> Vec<u64> {
    let text = std::str::from_utf8(bytes).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is torn");
    let sequence = |line: &str| {
        let json: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        json["event"]["sequence"].as_u64().unwrap_or_else(|| panic!("no event.sequence: {line}"))
    };
    text.lines().map(sequence).collect()
}

/// All sequences of the live file and of all files put aside, compressed or not. The compressor may
/// be at work: a plain file beside its finished copy counts once, and one that goes while we read
/// means another look.
pub(crate) fn recorded(dir: &Path) -> Vec<u64> {
    for _ in 0..1_000 {
        if let Some(mut all) = read_all(dir) {
            all.sort_unstable();
            return all;
        }
    }
    panic!("the files in {} never hold still", dir.display());
}

fn read_all(dir: &Path) -> Option<Vec<u64>> {
    let names = || -> BTreeSet<String> {
        std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    let before = names();
    let mut all = Vec::new();
    for name in &before {
        let plain = name.ends_with(".jsonl") && !before.contains(&format!("{name}.zst"));
        if plain || name.ends_with(".jsonl.zst") {
            let bytes = std::fs::read(dir.join(name)).ok()?;
            let bytes = if plain { bytes } else { zstd::decode_all(&bytes[..]).unwrap() };
            all.extend(sequences(&bytes));
        }
    }
    (before == names()).then_some(all)
}
