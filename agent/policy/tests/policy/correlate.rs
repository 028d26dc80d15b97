//! Counts, sequences and repeats, on the time of the events.

use crate::support::{exec, file, load, problems, process, rule};
use hostward_event::{Event, Text};
use hostward_policy::{Correlator, RuleSet, Summary};
use std::sync::Arc;

const SECOND: i64 = 1_000_000_000;

fn ran(name: &str, pid: u32, second: i64) -> Event {
    let mut acts = process(&format!("/bin/{name}"), "");
    acts.pid = pid;
    Event { time_ns: second * SECOND, ..exec(acts, &[]) }
}

/// The alerts of each event, as the pipeline asks for them.
fn alerts(rules: &RuleSet, correlator: &mut Correlator, events: &[Event]) -> Vec<Vec<String>> {
    let told = |event: &Event, correlator: &mut Correlator| {
        let mut matched = Vec::new();
        rules.matches(event, &mut matched);
        correlator.correlate(rules, event, &mut matched);
        let event = Arc::new(event.clone());
        matched.retain(|rule| !correlator.folds(rule, &event));
        matched.iter().map(|rule| rule.info.name.to_string()).collect()
    };
    events.iter().map(|event| told(event, correlator)).collect()
}

#[test]
fn a_count_is_reached_by_one_key_in_time() {
    let text =
        rule("N", "evt.type = execve and proc.name = a") + "  count: 3\n  by: proc.pid\n  within: 10s\n";
    let loaded = load(&text);
    assert_eq!(loaded.problems, []);
    let events = [
        ran("a", 1, 0),
        ran("a", 2, 1),
        ran("a", 1, 2),
        ran("b", 1, 3),
        // The third of process 1, but the first of them is 11 s ago.
        ran("a", 1, 11),
        ran("a", 1, 12),
        // After an alert the count begins anew.
        ran("a", 1, 13),
    ];
    let told = alerts(&loaded.rules, &mut Correlator::default(), &events);
    let want: Vec<Vec<String>> = [0, 0, 0, 0, 0, 1, 0].map(|n| vec!["N".to_owned(); n]).to_vec();
    assert_eq!(told, want);
    assert!(!loaded.rules.find("N").unwrap().is_immediate());
}

#[test]
fn a_sequence_is_completed_in_order_by_one_key_in_time() {
    let text = rule("A", "evt.type = execve and proc.name = a")
        + &rule("B", "evt.type = execve and proc.name = b")
        + "- rule: S\n  desc: d\n  sequence: [A, B]\n  by: [proc.pid]\n  within: 5s\n  output: o %proc.pid\n  priority: NOTICE\n";
    let loaded = load(&text);
    assert_eq!(loaded.problems, []);
    let mut correlator = Correlator::default();
    let complete = |correlator: &mut Correlator, events: &[Event]| -> Vec<bool> {
        let told = alerts(&loaded.rules, correlator, events);
        told.iter().map(|names| names.contains(&"S".to_owned())).collect()
    };
    let events = [ran("b", 1, 0), ran("a", 1, 1), ran("b", 2, 2), ran("b", 1, 3), ran("b", 1, 4)];
    assert_eq!(complete(&mut correlator, &events), [false, false, false, true, false]);
    let late = [ran("a", 1, 10), ran("b", 1, 16), ran("a", 1, 17), ran("b", 1, 22)];
    assert_eq!(complete(&mut correlator, &late), [false, false, false, true]);
}

#[test]
fn repeats_are_told_once_with_their_number() {
    let text = rule("D", "evt.type = execve") + "  dedup: {by: [proc.name], window: 60s}\n";
    let loaded = load(&text);
    assert_eq!(loaded.problems, []);
    let mut correlator = Correlator::default();
    let events = [ran("a", 1, 0), ran("a", 2, 1), ran("b", 3, 2), ran("a", 4, 60), ran("a", 5, 61)];
    let told: Vec<usize> = alerts(&loaded.rules, &mut correlator, &events).iter().map(Vec::len).collect();
    assert_eq!(told, [1, 0, 1, 0, 1]);
    let of = |summaries: &[Summary]| -> Vec<(Text, u64)> {
        summaries.iter().map(|s| (s.event.process.as_ref().unwrap().comm.clone(), s.count)).collect()
    };
    let mut out = Vec::new();
    correlator.expire(&loaded.rules, 61 * SECOND, &mut out);
    assert_eq!(of(&out), [(Text::from("a"), 2)], "the window that the last event closed");
    out.clear();
    correlator.expire(&loaded.rules, 1000 * SECOND, &mut out);
    assert_eq!(of(&out), [], "nothing was folded since");
    assert_eq!(alerts(&loaded.rules, &mut correlator, &[ran("a", 1, 1001)])[0].len(), 1);
}

#[test]
fn what_is_remembered_is_bounded() {
    let text = rule("D", "evt.type = execve") + "  dedup: {by: proc.pid, window: 1h}\n";
    let loaded = load(&text);
    let mut correlator = Correlator::default();
    let events: Vec<Event> = (1..=5_000).map(|pid| ran("a", pid, 1)).collect();
    assert!(alerts(&loaded.rules, &mut correlator, &events).iter().all(|names| names.len() == 1));
    // The last 4096 are known, the first are not.
    assert_eq!(alerts(&loaded.rules, &mut correlator, &[ran("a", 5_000, 2)])[0].len(), 0);
    assert_eq!(alerts(&loaded.rules, &mut correlator, &[ran("a", 1, 2)])[0].len(), 1);
}

#[test]
fn mistakes_are_told() {
    for (keys, want) in [
        ("  count: 1\n  within: 1s\n", "`1` is no count"),
        ("  count: 5\n", "`count` does not stand with what it needs"),
        ("  within: 5s\n", "`within` does not stand with what it needs"),
        ("  count: 5\n  within: 5 apples\n", "`5 apples` is no time"),
        ("  count: 5\n  within: 5s\n  by: proc.nmae\n", "did you mean `proc.name`"),
        ("  dedup: {by: proc.pid}\n", "dedup has no `window`"),
        ("  sequence: [A, R]\n  within: 5s\n", "sequence names the rule `A`, which is not there"),
    ] {
        let told = problems(&(rule("R", "evt.type = execve") + keys));
        assert!(told.iter().any(|problem| problem.contains(want)), "{keys}: {told:?}");
    }
    let loaded = hostward_policy::load(&[file(
        &(rule("R", "evt.type = execve") + "  dedup: {by: proc.pid, window: 1s}\n"),
    )]);
    assert!(loaded.rules.find("R").unwrap().is_immediate());
}
