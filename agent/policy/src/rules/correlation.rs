//! `sequence`, `count` and `dedup` of a rule entry.

use crate::condition::{Operand, lookup};
use crate::entry::Entry;
use crate::problem::{Fault, shorten};
use crate::sourced::Sources;
use crate::yaml::{Node, Scalar};
use hostward_event::Event;
use hostward_event::registry::Value;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

/// Most matches that `count` can ask for.
const MAX_COUNT: u32 = 10_000;
/// Longest time that is looked back.
const MAX_WINDOW_NS: i64 = 86_400_000_000_000;
/// Most bytes of one field's value that tell one from another.
const MAX_VALUE_BYTES: usize = 256;

/// What makes several matches one alert.
#[derive(Clone, Debug, Default)]
pub(crate) struct Correlation {
    /// Names of rules that have to match one after the other; empty: this rule has a condition.
    pub(crate) sequence: Vec<String>,
    /// Matches that make an alert; 0 and 1: each does.
    pub(crate) count: u32,
    /// What has to be the same in all of them.
    pub(crate) by: Key,
    pub(crate) within_ns: i64,
    pub(crate) dedup: Option<Dedup>,
}

/// Repeats that are told as one.
#[derive(Clone, Debug)]
pub(crate) struct Dedup {
    pub(crate) by: Key,
    pub(crate) window_ns: i64,
}

/// Fields whose values together tell one from another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Key(Arc<[Operand]>);

impl Key {
    /// The values, each cut to a bound, behind their lengths so that no two read alike.
    pub(crate) fn of(&self, event: &Event) -> Box<[u8]> {
        let mut key = Vec::new();
        for operand in self.0.iter() {
            let value = match operand.value(event) {
                Value::Missing => Vec::new(),
                Value::Text(text) => text.into_owned(),
                other => format!("{other:?}").into_bytes(),
            };
            let value = value.get(..MAX_VALUE_BYTES).unwrap_or(&value);
            key.extend_from_slice(&value.len().to_be_bytes());
            key.extend_from_slice(value);
        }
        key.into()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("host");
        }
        let names: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&names.join(" and "))
    }
}

pub(super) const KEYS: [&str; 5] = ["sequence", "count", "by", "within", "dedup"];

/// Reads the keys; none: there are none of them.
pub(super) fn read(entry: &mut Entry<'_>, sources: &mut Sources<'_>) -> Option<Correlation> {
    let first = KEYS.into_iter().find(|key| entry.value(key).is_some())?;
    let mut found = Correlation::default();
    if let Some(names) = entry.texts("sequence", sources) {
        found.sequence = names.into_iter().map(|name| name.text.clone()).collect();
        if found.sequence.len() < 2 {
            let fault = Fault::new(0, "sequence has fewer than two rules", "name the rules in their order");
            entry.error(entry.key_at("sequence"), fault, sources);
        }
    }
    if let Some(count) = entry.text("count", sources) {
        match count.text.parse() {
            Ok(number) if (2..=MAX_COUNT).contains(&number) => found.count = number,
            _ => {
                let reason = format!("`{}` is no count", shorten(&count.text));
                entry.error(count.start, Fault::new(0, reason, format!("write 2 to {MAX_COUNT}")), sources);
            }
        }
    }
    found.by = entry.value("by").map(|node| key(entry, node, sources)).unwrap_or_default();
    found.within_ns = time(entry, "within", sources).unwrap_or_default();
    let asks = found.count > 0 || !found.sequence.is_empty();
    let alone = asks == entry.value("within").is_some();
    if !alone || (entry.value("by").is_some() && !asks) || (found.count > 0 && !found.sequence.is_empty()) {
        let reason = format!("`{first}` does not stand with what it needs");
        let hint = "write `count` or `sequence`, with `within` and perhaps `by`";
        entry.error(entry.key_at(first), Fault::new(0, reason, hint), sources);
    }
    found.dedup = entry.value("dedup").and_then(|node| dedup(entry, node, sources));
    Some(found)
}

fn dedup(entry: &mut Entry<'_>, node: &Node, sources: &mut Sources<'_>) -> Option<Dedup> {
    let map = Entry::new(entry.file, node, sources);
    let Some(mut map) = map else {
        entry.failed = true;
        return None;
    };
    map.name.clone_from(&entry.name);
    map.check_keys(&["by", "window"], &[], sources);
    let by = map.value("by").map(|node| key(&mut map, node, sources)).unwrap_or_default();
    let window_ns = time(&mut map, "window", sources);
    if map.value("window").is_none() {
        map.error(map.at, Fault::new(0, "dedup has no `window`", "add e.g. `window: 60s`"), sources);
    }
    entry.failed |= map.failed;
    Some(Dedup { by, window_ns: window_ns? })
}

/// One field or a list of them.
fn key(entry: &mut Entry<'_>, node: &Node, sources: &mut Sources<'_>) -> Key {
    let scalars: Vec<Rc<Scalar>> = match (&node.kind, node.scalar()) {
        (_, Some(scalar)) => vec![Rc::clone(scalar)],
        (crate::yaml::Kind::Sequence(nodes), None) => {
            nodes.iter().filter_map(|node| node.scalar().cloned()).collect()
        }
        _ => Vec::new(),
    };
    if scalars.is_empty() {
        entry.error(
            node.at,
            Fault::new(0, "expected a field or a list of fields", "e.g. `by: proc.entity_id`"),
            sources,
        );
    }
    let mut operands = Vec::new();
    for scalar in scalars {
        let (name, bracket) = match scalar.text.split_once('[') {
            Some((name, rest)) => (name, Some(rest.trim_end_matches(']'))),
            None => (scalar.text.as_str(), None),
        };
        match lookup(name, bracket) {
            Ok((field, arg)) => operands.push(Operand::Field { field, arg }),
            Err(reason) => entry.error(scalar.start, Fault::new(0, reason, ""), sources),
        }
    }
    Key(operands.into())
}

/// `500ms`, `10s`, `5m`, `1h`.
fn time(entry: &mut Entry<'_>, key: &str, sources: &mut Sources<'_>) -> Option<i64> {
    let scalar = entry.text(key, sources)?;
    let text = scalar.text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "ms" => Some(1_000_000),
        "s" => Some(1_000_000_000),
        "m" => Some(60_000_000_000),
        "h" => Some(3_600_000_000_000),
        _ => None,
    };
    let ns = digits.parse::<i64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    let ns = ns.filter(|ns| (1..=MAX_WINDOW_NS).contains(ns));
    if ns.is_none() {
        let reason = format!("`{}` is no time", shorten(text));
        entry.error(scalar.start, Fault::new(0, reason, "write e.g. 500ms, 10s, 5m; 24h at most"), sources);
    }
    ns
}
