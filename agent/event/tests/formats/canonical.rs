//! What the spool relies on: an event comes back as it was, and other versions' records do no harm.

use crate::cef::named;
use crate::samples;
use hostward_event::canonical::{DecodeFailure, decode, encode};
use hostward_event::event::{Body, Surroundings};
use hostward_event::process::UserTable;
use hostward_event::registry::{self, Arg, Value};
use hostward_event::workload::Workload;
use hostward_event::{Event, EventKind, encode as wire};
use proptest::prelude::*;
use std::sync::Arc;

fn stored(event: &Event) -> Vec<u8> {
    let mut out = Vec::new();
    encode(event, &mut out).unwrap();
    out
}

fn ecs(event: &Event) -> String {
    let mut out = Vec::new();
    wire::ecs(event, &mut out);
    String::from_utf8(out).unwrap()
}

/// The event without names of users, of which only those go along that it uses.
fn nameless(event: &Event) -> Event {
    let around = Surroundings { users: UserTable::default(), ..Surroundings::clone(&event.around) };
    Event { around: Arc::new(around), ..event.clone() }
}

#[test]
fn every_kind_of_event_comes_back_and_reads_the_same() {
    for (name, event) in samples::all() {
        let back = decode(&stored(&event)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(nameless(&back), nameless(&event), "{name}");
        assert_eq!(ecs(&back), ecs(&event), "{name}: with the names that it shows");
    }
}

#[test]
fn domains_of_its_addresses_go_along() {
    let (_, mut event) = samples::all().into_iter().find(|(name, _)| *name == "connect_ipv4").unwrap();
    let read = |event: &Event| {
        let (field, arg) = registry::resolve("fd.sip.name", None).unwrap();
        format!("{:?}", field.value(event, &arg))
    };
    let Value::Ip(server) = registry::find("fd.sip").unwrap().value(&event, &Arg::None) else {
        panic!("no server")
    };
    let mut around = Surroundings::clone(&event.around);
    around.domains.names.insert(server, vec!["a.example".into(), "b.example".into()]);
    around.domains.names.insert([192, 0, 2, 250].into(), vec!["unused.example".into()]);
    event.around = Arc::new(around);
    let back = decode(&stored(&event)).unwrap();
    assert_eq!(read(&back), read(&event));
    assert_eq!(back.around.domains.names.len(), 1, "those of other addresses stay here");
}

#[test]
fn a_process_in_a_container_never_has_the_hosts_names() {
    let (_, mut event) = samples::all().into_iter().find(|(name, _)| name == "exec").unwrap();
    let name = |event: &Event, field: &str| {
        let text = ecs(&decode(&stored(event)).unwrap());
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        field
            .split('.')
            .try_fold(&value, |value, key| value.get(key))
            .and_then(|value| Some(value.as_str()?.to_owned()))
    };
    let inside = UserTable {
        users: [(33, "web".into()), (1_000, "deploy".into())].into(),
        groups: [(33, "pages".into())].into(),
    };
    event.inside = Some(Arc::new(inside));
    let told = ["user.name", "process.real_user.name", "process.group.name", "process.parent.user.name"];
    let all = |event: &Event| told.map(|field| name(event, field).unwrap_or_default());
    // The parent runs on the host.
    assert_eq!(all(&event), ["web", "deploy", "pages", "www-data"]);
    assert_eq!(
        name(&event, "hostward.process.login_user").as_deref(),
        Some("alice"),
        "who logged in on the host"
    );
    event.inside = None;
    assert_eq!(all(&event), ["", "", "", "www-data"], "not known, rather than the host's");
    // A parent in another container is not of those whose names are here.
    let mut parent = event.process.as_deref().unwrap().clone();
    let mut workload = Workload::clone(&parent.workload);
    workload.container.as_mut().unwrap().id = "other".into();
    parent.workload = Arc::new(workload);
    Arc::make_mut(&mut event.lineage)[0] = Arc::new(parent);
    event.inside = Some(Arc::new(UserTable { users: [(33, "web".into())].into(), ..UserTable::default() }));
    assert_eq!(all(&event), ["web", "", "", ""]);
}

#[test]
fn names_that_the_event_does_not_use_stay_behind() {
    let (_, mut event) = samples::all().into_iter().find(|(name, _)| name == "exec").unwrap();
    let mut around = Surroundings::clone(&event.around);
    around.users.users.extend((5_000..6_000).map(|uid| (uid, "somebody".into())));
    event.around = Arc::new(around);
    let back = decode(&stored(&event)).unwrap();
    assert_eq!(back.around.users.users.keys().copied().collect::<Vec<_>>(), [0, 33, 1_000]);
    assert!(stored(&event).len() < 8_000);
}

#[test]
fn a_field_of_a_newer_agent_is_ignored_and_a_missing_one_has_its_default() {
    let (_, event) = samples::all().into_iter().find(|(name, _)| name == "open/alert").unwrap();
    let record = stored(&event);
    // Version, then a map of 19 pairs: make it 20 with a pair that nobody knows.
    assert_eq!(record[..4], [1, 0xde, 0, 19]);
    let mut newer = vec![1, 0xde, 0, 20];
    newer.extend_from_slice(&record[4..]);
    newer.extend_from_slice(b"\xaanovelty_x1\x92\x01\xc4\x02\xff\xfe");
    assert_eq!(decode(&newer).unwrap(), decode(&record).unwrap());

    // What every version has, and nothing else.
    let mut older = b"\x01\x85\xa2id\xc4\x10".to_vec();
    older.extend_from_slice(&[7; 16]);
    older.extend_from_slice(b"\xa8sequence\x01\xa7time_ns\x02\xaacreated_ns\x03\xa4body\xa4fork");
    let back = decode(&older).unwrap();
    assert_eq!((back.sequence, back.time_ns, back.created_ns, back.tid), (1, 2, 3, 0));
    assert_eq!(back.id.to_bytes(), [7; 16]);
}

#[test]
fn another_version_says_so() {
    assert_eq!(decode(b""), Err(DecodeFailure::Version(None)));
    assert_eq!(decode(b"\x02\x80"), Err(DecodeFailure::Version(Some(2))));
    assert!(matches!(decode(b"\x01\x80"), Err(DecodeFailure::Content(_))));
}

proptest! {
    #[test]
    fn any_bytes_in_a_text_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let event = named(&bytes);
        let back = decode(&stored(&event)).unwrap();
        let name = back.alert.as_ref().unwrap().rule.name.clone();
        prop_assert_eq!(name.as_bytes(), &bytes[..]);
    }

    #[test]
    fn a_damaged_record_is_an_answer(at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>()) {
        let (_, event) = samples::all().into_iter().find(|(name, _)| name == "connect_ipv4/alert").unwrap();
        let mut record = stored(&event);
        let at = at.index(record.len());
        record[at] = byte;
        let _ = decode(&record);
        let _ = decode(&record[..cut.index(record.len())]);
    }
}

#[test]
fn a_call_without_a_path_is_about_the_file_behind_the_descriptor() {
    let (_, mut event) = samples::all().into_iter().find(|(name, _)| *name == "chmod_descriptor").unwrap();
    let mut read = |kind: EventKind, new: &str, field: &str| {
        let Body::Call(call) = &mut event.body else { panic!("no call") };
        (call.kind, call.texts[1]) = (kind, new.into());
        format!("{:?}", registry::find(field).unwrap().value(&event, &Arg::None))
    };
    let behind = format!("{:?}", Value::Text(b"/usr/bin/tool".as_slice().into()));
    for kind in [EventKind::Fchmodat2, EventKind::Fchownat, EventKind::Utimensat] {
        assert_eq!(read(kind, "", "fs.path.name"), behind, "{}", kind.name());
    }
    assert_eq!(read(EventKind::Linkat, "/tmp/new", "fs.path.source"), behind);
    assert_ne!(read(EventKind::Linkat, "/tmp/new", "fs.path.name"), behind);
    assert_ne!(read(EventKind::Unlinkat, "", "fs.path.name"), behind, "it demands a path");
}
