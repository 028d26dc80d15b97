//! The journald sink against a socket that plays the journal and takes entries apart as journald does.

use crate::feed::{Count, Feed, id};
use hostward_outputs::State;
use hostward_outputs::journald::{self, JournaldConfig};
use rustix::fs::SealFlags;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::collections::BTreeMap;
use std::io::{IoSliceMut, Read, Seek};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

type Entry = BTreeMap<String, Vec<u8>>;

fn bind(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    socket
}

/// The next entry, and whether it came as a file.
fn receive(socket: &UnixDatagram) -> (Entry, bool) {
    let mut bytes = vec![0; 1 << 20];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got =
        recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    let file = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    let Some(file) = file else { return (parse(&bytes[..got.bytes]), false) };
    assert_eq!(got.bytes, 0, "an entry is a file or a datagram");
    let seals = rustix::fs::fcntl_get_seals(&file).unwrap();
    let wanted = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    assert!(seals.contains(wanted), "journald refuses a file that can change: {seals:?}");
    let mut file = std::fs::File::from(file);
    file.rewind().unwrap();
    let mut content = Vec::new();
    file.read_to_end(&mut content).unwrap();
    (parse(&content), true)
}

/// By <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.
fn parse(mut bytes: &[u8]) -> Entry {
    let mut entry = Entry::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        let line = &bytes[..end];
        bytes = &bytes[end + 1..];
        let (name, value) = match line.iter().position(|byte| *byte == b'=') {
            Some(at) => (&line[..at], line[at + 1..].to_vec()),
            None => {
                let length = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
                let value = bytes[8..8 + length].to_vec();
                assert_eq!(bytes[8 + length], b'\n');
                bytes = &bytes[9 + length..];
                (line, value)
            }
        };
        let name = String::from_utf8(name.to_vec()).unwrap();
        let shaped = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(name.bytes().all(shaped) && !name.starts_with('_'), "{name}");
        assert!(entry.insert(name, value).is_none(), "a field stands once");
    }
    entry
}

fn text<'e>(entry: &'e Entry, name: &str) -> &'e str {
    std::str::from_utf8(&entry[name]).unwrap()
}

#[test]
fn an_alert_and_telemetry_have_their_fields() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let journal = bind(&path);
    let feed = Feed::start("journald", &format!("socket = {path:?}\n"));
    feed.send_alert("shell in a container\nPRIORITY=7");
    let (entry, by_file) = receive(&journal);
    assert!(!by_file);
    assert_eq!(text(&entry, "MESSAGE"), "shell in a container\nPRIORITY=7");
    assert_eq!(text(&entry, "PRIORITY"), "2", "and the message cannot set it");
    assert_eq!(text(&entry, "SYSLOG_IDENTIFIER"), "hostward");
    assert_eq!(text(&entry, "MESSAGE_ID"), "4b3cf7b8a7dd4d878978430a6645fbc2");
    assert_eq!(text(&entry, "HOSTWARD_EVENT_ID"), id(1).to_string());
    assert_eq!(text(&entry, "HOSTWARD_DATASET"), "hostward.alert");
    assert_eq!(text(&entry, "HOSTWARD_RULE"), "a rule");
    let record: serde_json::Value = serde_json::from_slice(&entry["HOSTWARD_RECORD"]).unwrap();
    assert_eq!(
        (&record["event"]["id"], &record["event"]["kind"]),
        (&id(1).to_string().into(), &"alert".into())
    );

    feed.send(1, 100);
    let (entry, _) = receive(&journal);
    assert_eq!(text(&entry, "MESSAGE_ID"), "6747eb5f49024b559b0e3602273c5567");
    assert_eq!((text(&entry, "PRIORITY"), text(&entry, "HOSTWARD_ACTION")), ("6", "fork"));
    assert!(!text(&entry, "MESSAGE").is_empty() && !entry.contains_key("HOSTWARD_RULE"), "{entry:?}");
    let status = feed.wait_delivered();
    assert_eq!((status.dropped_events(), status.health.state), (0, State::Ok));
}

#[test]
fn what_is_redacted_is_in_no_field() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let journal = bind(&path);
    let keys =
        format!("socket = {path:?}\nredact = [\"process.name\", \"process.args\"]\nencoding = \"cef\"\n");
    let feed = Feed::start("journald", &keys);
    feed.send_alert("program hush-hush was started");
    let (entry, _) = receive(&journal);
    assert_eq!(text(&entry, "MESSAGE"), "a rule [output redacted]");
    assert!(text(&entry, "HOSTWARD_RECORD").starts_with("CEF:0|"));
    assert!(entry.values().all(|value| !value.windows(4).any(|bytes| bytes == b"hush")), "{entry:?}");
}

#[test]
fn an_entry_that_no_datagram_carries_goes_as_a_sealed_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let journal = bind(&path);
    let feed = Feed::start("journald", &format!("socket = {path:?}\n"));
    feed.send(1, 100);
    feed.send(1, 900_000);
    feed.send(1, 100);
    let entries: Vec<_> = (0..3).map(|_| receive(&journal)).collect();
    let by_file: Vec<bool> = entries.iter().map(|(_, by_file)| *by_file).collect();
    assert_eq!(by_file, [false, true, false]);
    assert!(entries[1].0["HOSTWARD_RECORD"].len() > 900_000);
    let ids = entries.iter().map(|(entry, _)| text(entry, "HOSTWARD_EVENT_ID"));
    assert_eq!(Count::of(&feed, ids), Count::once(3));
    feed.wait_delivered();
    assert_eq!(feed.counter("entries_by_file"), 1);
}

#[test]
fn a_journal_that_is_away_or_full_holds_the_events() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let feed = Feed::start("journald", &format!("socket = {path:?}\n"));
    feed.send(500, 100);
    let status = feed.wait("it is not there", |status| status.health.state == State::Degraded);
    assert!(status.health.reason.contains("No such file"), "{}", status.health.reason);
    let journal = bind(&path);
    // Its queue holds a few (net.unix.max_dgram_qlen); then the sink waits for its reader.
    feed.wait("it takes some", |status| status.in_flight > 0 && status.delivered == 0);
    std::thread::sleep(Duration::from_millis(200));
    assert!(feed.status().delivered < 500, "more than any queue holds");
    let entries: Vec<Entry> = (0..500).map(|_| receive(&journal).0).collect();
    let status = feed.wait_delivered();
    assert_eq!(status.dropped_events(), 0);
    let ids = entries.iter().map(|entry| text(entry, "HOSTWARD_EVENT_ID"));
    assert_eq!(Count::of(&feed, ids), Count::once(500));

    // Nobody behind the socket any more, then somebody new.
    drop(journal);
    feed.send(10, 100);
    feed.wait("nobody is there", |status| status.health.state == State::Degraded);
    std::fs::remove_file(&path).unwrap();
    let journal = bind(&path);
    let entries: Vec<Entry> = (0..10).map(|_| receive(&journal).0).collect();
    assert_eq!(text(&entries[0], "HOSTWARD_EVENT_ID"), id(501).to_string());
    feed.wait_delivered();
}

#[test]
fn a_check_says_whether_the_socket_takes_entries() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = JournaldConfig { socket: path.clone(), ..JournaldConfig::default() };
    let steps = runtime.block_on(journald::check(&config));
    assert!(!steps[0].ok && steps[0].why.contains("No such file"), "{steps:?}");
    let journal = bind(&path);
    let steps = runtime.block_on(journald::check(&config));
    assert!(steps[0].ok, "{steps:?}");
    journal.set_nonblocking(true).unwrap();
    assert!(journal.recv(&mut [0; 10]).is_err(), "a check leaves nothing behind");
}
