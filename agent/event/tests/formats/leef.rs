//! LEEF: a reader finds exactly the attributes that were written, whatever bytes they hold.

use crate::cef::{any_byte, chosen, encode, head, named, readable, unescape};
use crate::samples::{self, HOSTILE};
use hostward_event::encode::Encoding;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn parse(line: &str) -> (Vec<String>, BTreeMap<String, String>) {
    assert!(!line.contains(['\n', '\r']), "a line end in {line:?}");
    let (head, rest) = head(line.strip_prefix("LEEF:2.0|").unwrap(), 5);
    assert_eq!(head[4], "x09");
    let mut attributes = BTreeMap::new();
    for attribute in rest.split('\t') {
        let (key, value) = attribute.split_once('=').unwrap();
        assert!(!key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric()), "key {key:?}");
        let old = attributes.insert(key.to_owned(), unescape(value));
        assert!(old.is_none(), "{key} stands twice in {line:?}");
    }
    (head, attributes)
}

#[test]
fn a_connection_reads_back() {
    let (_, event) = samples::all().into_iter().find(|(name, _)| name == "connect_ipv4").unwrap();
    let (head, attributes) = parse(&encode(Encoding::Leef, &event));
    assert_eq!(head[..4], ["Hostward", "Hostward", "0.1.0", "connection_attempted"]);
    let want = [
        ("devTime", "1767323045123"),
        ("sev", "2"),
        ("cat", "network"),
        ("src", "192.0.2.7"),
        ("srcPort", "50000"),
        ("dst", "203.0.113.9"),
        ("dstPort", "443"),
        ("proto", "tcp"),
        ("usrName", "www-data"),
        ("identHostName", "web-1"),
    ];
    for (key, value) in want {
        assert_eq!(attributes.get(key).map(String::as_str), Some(value), "{key}");
    }
}

#[test]
fn hostile_text_stays_in_its_attribute() {
    let (head, hostile) = parse(&encode(Encoding::Leef, &chosen(HOSTILE)));
    let (calm_head, calm) = parse(&encode(Encoding::Leef, &chosen(b"calm")));
    assert_eq!(head, calm_head);
    assert_eq!(hostile.keys().collect::<Vec<_>>(), calm.keys().collect::<Vec<_>>());
    assert_eq!(hostile["processPath"], readable(HOSTILE));
    for (_, event) in samples::all() {
        parse(&encode(Encoding::Leef, &event));
    }
}

proptest! {
    #[test]
    fn any_bytes_stay_in_their_attribute(bytes in proptest::collection::vec(any_byte(), 1..60)) {
        let (_, attributes) = parse(&encode(Encoding::Leef, &chosen(&bytes)));
        prop_assert_eq!(&attributes["processPath"], &readable(&bytes));
    }

    #[test]
    fn any_rule_name_stays_in_the_head(bytes in proptest::collection::vec(any_byte(), 1..60)) {
        let (head, attributes) = parse(&encode(Encoding::Leef, &named(&bytes)));
        let blank = readable(&bytes).replace(['\n', '\r', '\t'], " ");
        prop_assert_eq!(&head[3], &blank);
        prop_assert_eq!(&attributes["policy"], &readable(&bytes));
    }
}
