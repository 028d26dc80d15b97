//! CEF: a reader finds exactly the fields that were written, whatever bytes they hold.

use crate::samples::{self, HOSTILE};
use hostward_event::encode::Encoding;
use hostward_event::event::Body;
use hostward_event::process::Process;
use hostward_event::{Event, Text};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Head and extension of one line, as a reader that knows only the format takes them apart.
#[derive(Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) head: Vec<String>,
    pub(crate) extension: BTreeMap<String, String>,
}

pub(crate) fn encode(encoding: Encoding, event: &Event) -> String {
    let mut out = Vec::new();
    encoding.encode(event, &mut out);
    String::from_utf8(out).unwrap()
}

/// Splits off `count` fields that end in an unescaped `|`.
pub(crate) fn head(line: &str, count: usize) -> (Vec<String>, &str) {
    let (mut fields, mut field, mut escaped) = (Vec::new(), String::new(), false);
    for (at, c) in line.char_indices() {
        match c {
            c if std::mem::take(&mut escaped) => field.push(c),
            '\\' => escaped = true,
            '|' => {
                fields.push(std::mem::take(&mut field));
                if fields.len() == count {
                    return (fields, &line[at + 1..]);
                }
            }
            c => field.push(c),
        }
    }
    panic!("{} of {count} fields in {line:?}", fields.len());
}

fn parse(line: &str) -> Record {
    assert!(!line.contains(['\n', '\r']), "a line end in {line:?}");
    let (head, rest) = head(line.strip_prefix("CEF:0|").unwrap(), 6);
    // A key is what stands before an unescaped `=`, back to the blank before it.
    let bytes = rest.as_bytes();
    let mut equals = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'=' => equals.push(at),
            _ => {}
        }
        at += 1;
    }
    let key_at = |equal: usize| rest[..equal].rfind(' ').map_or(0, |blank| blank + 1);
    let mut extension = BTreeMap::new();
    for (n, equal) in equals.iter().enumerate() {
        let end = equals.get(n + 1).map_or(rest.len(), |next| key_at(*next) - 1);
        let key = rest[key_at(*equal)..*equal].to_owned();
        let old = extension.insert(key.clone(), unescape(&rest[equal + 1..end]));
        assert!(old.is_none(), "{key} stands twice in {line:?}");
    }
    Record { head, extension }
}

pub(crate) fn unescape(text: &str) -> String {
    let (mut out, mut escaped) = (String::new(), false);
    for c in text.chars() {
        match c {
            'n' if escaped => out.push('\n'),
            'r' if escaped => out.push('\r'),
            't' if escaped => out.push('\t'),
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            c => out.push(c),
        }
        escaped = false;
    }
    assert!(!escaped, "an escape without a character in {text:?}");
    out
}

/// An exec of which the attacker chose everything that can be chosen.
pub(crate) fn chosen(bytes: &[u8]) -> Event {
    let (_, event) = samples::all().into_iter().find(|(name, _)| name == "exec").unwrap();
    let text = Text::copy(bytes);
    let process = event.process.as_deref().unwrap().clone();
    let process = Process { comm: text.clone(), path: text.clone(), cwd: text, ..process };
    Event { process: Some(Arc::new(process)), ..event }
}

/// What text of these bytes has to read like: bytes that are no UTF-8 and controls as `\xHH`.
pub(crate) fn readable(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' | '\r' | '\t' => out.push(c),
                c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
                c if c.is_control() || c == '\u{2028}' || c == '\u{2029}' => {
                    out.push_str(&format!("\\u{{{:x}}}", u32::from(c)));
                }
                c => out.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
    }
    out
}

#[test]
fn an_alert_reads_back() {
    let (_, event) = samples::all().into_iter().find(|(name, _)| name == "exec/alert").unwrap();
    let record = parse(&encode(Encoding::Cef, &event));
    let head = ["Hostward", "Hostward", "0.1.0", "Shell spawned by web server"];
    assert_eq!(record.head[..4], head);
    assert_eq!(record.head[4..], ["A web server starts a shell | as after an exploit", "8"]);
    let want = [
        ("rt", "1767323045123"),
        ("act", "exec"),
        ("cat", "intrusion_detection,process"),
        ("msg", "shell sh started by nginx (sh -c id)"),
        ("dvchost", "web-1"),
        ("suser", "www-data"),
        ("suid", "33"),
        ("spid", "702"),
        ("sproc", "/usr/bin/dash"),
        ("cs1", "sh -c id; echo 'a b' > /tmp/x"),
        ("cs1Label", "process.command_line"),
        ("cs4", "T1059,T1505"),
        ("cs4Label", "threat.technique.id"),
        ("cn1", "701"),
        ("cn1Label", "process.parent.pid"),
    ];
    for (key, value) in want {
        assert_eq!(record.extension.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert_eq!(record.extension["externalId"], event.id.to_string());
}

#[test]
fn hostile_text_stays_in_its_field() {
    let calm = parse(&encode(Encoding::Cef, &chosen(b"calm")));
    let hostile = parse(&encode(Encoding::Cef, &chosen(HOSTILE)));
    assert_eq!(calm.extension.keys().collect::<Vec<_>>(), hostile.extension.keys().collect::<Vec<_>>());
    assert_eq!(hostile.extension["sproc"], readable(HOSTILE));
    assert_eq!(calm.head, hostile.head);
    for (_, event) in samples::all() {
        parse(&encode(Encoding::Cef, &event));
    }
}

proptest! {
    #[test]
    fn any_bytes_stay_in_their_field(bytes in proptest::collection::vec(any_byte(), 1..60)) {
        let record = parse(&encode(Encoding::Cef, &chosen(&bytes)));
        prop_assert_eq!(&record.extension["sproc"], &readable(&bytes));
        let calm = parse(&encode(Encoding::Cef, &chosen(b"calm")));
        prop_assert!(calm.extension.keys().eq(record.extension.keys()));
    }

    #[test]
    fn any_rule_name_stays_in_the_head(bytes in proptest::collection::vec(any_byte(), 1..60)) {
        let record = parse(&encode(Encoding::Cef, &named(&bytes)));
        let blank = readable(&bytes).replace(['\n', '\r', '\t'], " ");
        prop_assert_eq!(&record.head[3], &blank);
        prop_assert_eq!(&record.head[5], "8");
    }
}

/// Any byte, but those that mean something more often.
pub(crate) fn any_byte() -> impl Strategy<Value = u8> {
    prop_oneof![any::<u8>(), proptest::sample::select(&b"|=\\\n\r\t ,\"\x00\xff"[..])]
}

/// An alert of a rule with this name.
pub(crate) fn named(bytes: &[u8]) -> Event {
    let (_, event) = samples::all().into_iter().find(|(name, _)| name == "exec/alert").unwrap();
    let mut alert = event.alert.as_deref().unwrap().clone();
    let mut rule = alert.rule.as_ref().clone();
    rule.name = Text::copy(bytes);
    alert.rule = Arc::new(rule);
    Event { alert: Some(Arc::new(alert)), body: Body::Exec { killed: false }, ..event }
}
