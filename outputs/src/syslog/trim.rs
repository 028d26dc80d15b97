//! Makes a record fit into a message, and keeps it a record.

use hostward_event::encode::Encoding;
use serde_json::{Map, Value};

/// What goes first from a JSON record, in this order (`docs/specs/delivery.md`): bulk before what
/// tells who did what.
const ORDER: [&str; 9] = [
    "process.parent.args",
    "process.parent.command_line",
    "process.args",
    "process.command_line",
    "related",
    "hostward",
    "process.session_leader",
    "process.parent",
    "host",
];
/// Members that no record can do without.
const KEPT: [&str; 12] = [
    "@timestamp",
    "event",
    "hostward",
    "class_uid",
    "type_uid",
    "activity_id",
    "category_uid",
    "severity_id",
    "metadata",
    "time",
    "rule",
    "priority",
];
/// A text or list this short is left as it is.
const SHORT_BYTES: usize = 64;
/// The list of what is missing must not itself be what does not fit.
const MAX_NAMES: usize = 16;

/// Shortens `record` to `limit` bytes. True when something is missing now. JSON stays JSON, and a
/// line of attributes loses whole attributes.
pub(super) fn fit(record: &mut Vec<u8>, limit: usize, encoding: Encoding) -> bool {
    if record.len() <= limit {
        return false;
    }
    match encoding {
        Encoding::Ecs | Encoding::Ocsf | Encoding::Falco => match serde_json::from_slice(record) {
            Ok(Value::Object(object)) => *record = fit_json(object, limit),
            // Our encoders write objects; half of one is of no use to anybody, text at least is read.
            _ => cut(record, limit),
        },
        Encoding::Cef => cut_attributes(record, limit, cef_ends),
        Encoding::Leef => cut_attributes(record, limit, leef_ends),
        Encoding::Compact => cut(record, limit),
    }
    true
}

fn fit_json(mut object: Map<String, Value>, limit: usize) -> Vec<u8> {
    let mut trimmed = Vec::new();
    for path in ORDER {
        if remove(&mut object, path) {
            trimmed.push(path.to_owned());
            if let Some(fitting) = told(&mut object, &trimmed).filter(|bytes| bytes.len() <= limit) {
                return fitting;
            }
        }
    }
    // Rare: something else is huge. The longest text or list loses half, again and again; then
    // whole members go. Each round shortens it, so it ends.
    loop {
        let name = match longest(&object) {
            Some(path) => halve(&mut object, &path).then(|| path.join(".")),
            None => largest_member(&object).inspect(|name| drop(object.remove(name))),
        };
        let Some(name) = name else {
            return told(&mut object, &trimmed).unwrap_or_default();
        };
        if !trimmed.contains(&name) && trimmed.len() < MAX_NAMES {
            trimmed.push(name);
        }
        if let Some(fitting) = told(&mut object, &trimmed).filter(|bytes| bytes.len() <= limit) {
            return fitting;
        }
    }
}

/// The record with the names of what is missing in `hostward.trimmed`.
fn told(object: &mut Map<String, Value>, trimmed: &[String]) -> Option<Vec<u8>> {
    let ours = object.entry("hostward").or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(ours) = ours {
        ours.insert("trimmed".to_owned(), trimmed.into());
    }
    serde_json::to_vec(object).ok()
}

fn remove(object: &mut Map<String, Value>, path: &str) -> bool {
    match path.split_once('.') {
        None => object.remove(path).is_some(),
        Some((head, rest)) => match object.get_mut(head) {
            Some(Value::Object(inner)) => remove(inner, rest),
            _ => false,
        },
    }
}

/// Path of the text or list that takes most room, if it is worth shortening.
fn longest(object: &Map<String, Value>) -> Option<Vec<String>> {
    fn visit(object: &Map<String, Value>, path: &mut Vec<String>, best: &mut (usize, Vec<String>)) {
        for (name, value) in object {
            path.push(name.clone());
            let bytes = match value {
                Value::String(text) => text.len(),
                Value::Array(items) if items.len() > 1 => size(value),
                Value::Object(inner) => {
                    visit(inner, path, best);
                    0
                }
                _ => 0,
            };
            let is_list_of_names = path.first().is_some_and(|top| top == "hostward") && name == "trimmed";
            if bytes > best.0 && !is_list_of_names {
                *best = (bytes, path.clone());
            }
            path.pop();
        }
    }
    let mut best = (SHORT_BYTES, Vec::new());
    visit(object, &mut Vec::new(), &mut best);
    (!best.1.is_empty()).then_some(best.1)
}

fn halve(object: &mut Map<String, Value>, path: &[String]) -> bool {
    let Some((head, rest)) = path.split_first() else { return false };
    match object.get_mut(head) {
        Some(Value::Object(inner)) => halve(inner, rest),
        Some(Value::String(text)) => {
            text.truncate(text.floor_char_boundary(text.len() / 2));
            true
        }
        Some(Value::Array(items)) => {
            items.truncate(items.len() / 2);
            true
        }
        _ => false,
    }
}

fn largest_member(object: &Map<String, Value>) -> Option<String> {
    let others = object.iter().filter(|(name, _)| !KEPT.contains(&name.as_str()));
    others.max_by_key(|(_, value)| size(value)).map(|(name, _)| name.clone())
}

fn size(value: &Value) -> usize {
    serde_json::to_vec(value).map_or(0, |bytes| bytes.len())
}

/// Cuts text behind the last whole character.
fn cut(record: &mut Vec<u8>, limit: usize) {
    let whole = match std::str::from_utf8(record) {
        Ok(text) => text.floor_char_boundary(limit),
        Err(error) => limit.min(error.valid_up_to()),
    };
    record.truncate(whole);
}

/// Cuts behind the last attribute that is wholly inside; `ends` gives where each ends.
fn cut_attributes(record: &mut Vec<u8>, limit: usize, ends: fn(&[u8]) -> Vec<usize>) {
    match ends(record).into_iter().filter(|end| *end <= limit).max() {
        Some(end) => record.truncate(end),
        None => cut(record, limit),
    }
}

/// Where the header of so many fields ends: behind its last unescaped bar.
fn header_end(record: &[u8], bars: usize) -> Option<usize> {
    let mut escaped = false;
    let mut seen = 0;
    for (at, byte) in record.iter().enumerate() {
        if *byte == b'|' && !escaped {
            seen += 1;
            if seen == bars {
                return Some(at + 1);
            }
        }
        escaped = *byte == b'\\' && !escaped;
    }
    None
}

/// In CEF a key begins behind a blank and ends at an equals sign that nothing escapes; what ends
/// there is the attribute before it.
fn cef_ends(record: &[u8]) -> Vec<usize> {
    let Some(start) = header_end(record, 7) else { return Vec::new() };
    let mut ends = vec![start];
    let mut escaped = false;
    let mut blank = None;
    for (at, byte) in record.iter().enumerate().skip(start) {
        match byte {
            b' ' => blank = Some(at),
            b'=' if !escaped => ends.extend(blank.take()),
            _ => {}
        }
        escaped = *byte == b'\\' && !escaped;
    }
    ends
}

/// In LEEF a tab ends an attribute, and no value has one.
fn leef_ends(record: &[u8]) -> Vec<usize> {
    let Some(start) = header_end(record, 6) else { return Vec::new() };
    let tabs = record.iter().enumerate().skip(start).filter(|(_, byte)| **byte == b'\t');
    std::iter::once(start).chain(tabs.map(|(at, _)| at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fitted(text: &str, limit: usize, encoding: Encoding) -> String {
        let mut record = text.as_bytes().to_vec();
        fit(&mut record, limit, encoding);
        String::from_utf8(record).unwrap()
    }

    #[test]
    fn bulk_goes_first_and_is_named() {
        let long = "x".repeat(500);
        let record = serde_json::json!({
            "event": {"id": "e"}, "host": {"name": "h"}, "hostward": {"mode": "monitor"},
            "process": {"name": "p", "args": [long], "command_line": long, "parent": {"args": [long], "pid": 1}},
        });
        let json: Value = serde_json::from_str(&fitted(&record.to_string(), 700, Encoding::Ecs)).unwrap();
        assert_eq!(json["hostward"]["trimmed"], serde_json::json!(["process.parent.args", "process.args"]));
        assert_eq!(json["hostward"]["mode"], "monitor");
        assert_eq!(json["process"]["command_line"].as_str().unwrap().len(), 500);
        assert_eq!((&json["process"]["parent"]["pid"], &json["event"]["id"]), (&1.into(), &"e".into()));
    }

    #[test]
    fn attributes_go_whole() {
        let cef = r"CEF:0|a|b|1|i|n\|m|5|src=1.2.3.4 msg=a b\=c d fname=/x y=z";
        assert_eq!(
            fitted(cef, cef.len() - 1, Encoding::Cef),
            r"CEF:0|a|b|1|i|n\|m|5|src=1.2.3.4 msg=a b\=c d fname=/x"
        );
        assert_eq!(fitted(cef, 50, Encoding::Cef), r"CEF:0|a|b|1|i|n\|m|5|src=1.2.3.4 msg=a b\=c d");
        assert_eq!(fitted(cef, 40, Encoding::Cef), r"CEF:0|a|b|1|i|n\|m|5|src=1.2.3.4");
        assert_eq!(fitted(cef, 25, Encoding::Cef), r"CEF:0|a|b|1|i|n\|m|5|");
        let leef = "LEEF:2.0|a|b|1|i|x09|src=1.2.3.4\tmsg=a=b c\tusr=x";
        assert_eq!(fitted(leef, 45, Encoding::Leef), "LEEF:2.0|a|b|1|i|x09|src=1.2.3.4\tmsg=a=b c");
        assert_eq!(fitted("aaa\u{e9}\u{e9}", 4, Encoding::Compact), "aaa");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<u64>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            "\\PC{0,300}".prop_map(Value::from),
        ];
        let key =
            prop_oneof![Just("process"), Just("parent"), Just("args"), Just("host"), Just("a"), Just("b")];
        leaf.prop_recursive(4, 64, 8, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::hash_map(key.clone().prop_map(str::to_owned), inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_record_fits_and_stays_json(process in any_json(), other in any_json(), limit in 800_usize..2_000) {
            let id = "0123456789abcdef0123456789abcdef";
            let record = serde_json::json!({"event": {"id": id}, "process": process, "other": other});
            let json = fitted(&record.to_string(), limit, Encoding::Ecs);
            prop_assert!(json.len() <= limit, "{} of {limit}: {json}", json.len());
            let json: Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(&json["event"]["id"], id);
        }

        #[test]
        fn any_text_is_cut_without_a_panic(bytes: Vec<u8>, limit in 0_usize..64) {
            for encoding in Encoding::ALL {
                let mut record = bytes.clone();
                fit(&mut record, limit, encoding);
                prop_assert!(record.len() <= bytes.len().min(limit) || encoding.is_json());
            }
        }
    }
}
