//! The stream of container events, where a runtime has one.

use crate::grpc::{SANDBOX, Server, Stream, UID, status};
use crate::source::Source;
use hostward_event::fact::Fact;
use hostward_event::workload::Source as Told;
use hostward_host::{CriEvents, RuntimeConfig, SourceState};
use hostward_tests::containerd::{Containerd, programs};
use hostward_tests::need::skip;
use hostward_tests::{Part, lacks};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const APP: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const SHORT: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
const CREATED: i32 = 0;
const STARTED: i32 = 1;
const STOPPED: i32 = 2;
const DELETED: i32 = 3;

/// Lists come so seldom that what is told comes from the stream; one comes at the start.
fn listening(path: &Path, cri_events: CriEvents, poll_ms: u64) -> Source {
    let config = RuntimeConfig {
        sockets: vec![format!("cri:{}", path.display())],
        state_dirs: Vec::new(),
        timeout_ms: 10_000,
        poll_ms,
        cri_events,
        ..RuntimeConfig::default()
    };
    Source::with(&config, path)
}

const NEVER_AGAIN: u64 = 3_600_000;

#[test]
fn a_container_is_told_when_its_creation_is_announced() {
    let server = Server::start("containerd", "2.1.9", Stream::Open);
    let mut source = listening(&server.path, CriEvents::Auto, NEVER_AGAIN);
    source.wait_for(SourceState::Ok);
    server.wait_for_listener();
    server.send(APP, CREATED, vec![status(APP)]);
    let pod = source.wait("the pod", |fact| match fact {
        Fact::Pod(pod) if pod.uid.as_bytes() == UID.as_bytes() => Some(pod.clone()),
        Fact::Container(facts) if !facts.sandbox => panic!("before its pod: {facts:?}"),
        _ => None,
    });
    assert_eq!(pod.labels.get("app".as_bytes()), Some(&"web".into()));
    let facts = source.container(APP);
    assert_eq!((facts.name.to_string(), facts.pod_uid.to_string()), ("app-01".into(), UID.into()));
    assert_eq!(facts.image.name_and_tag(), (&b"docker.io/library/nginx"[..], &b"1.27"[..]));
    assert_eq!(
        (facts.image.id.to_string(), &facts.image.digests),
        ("sha256:cc".into(), &vec!["sha256:aa".into()])
    );
    assert!(source.wait_for(SourceState::Ok).why.contains("it announces containers"));

    // One that is gone before it can be asked for is told as the event tells it.
    server.shared.tells.store(false, Ordering::SeqCst);
    server.send(SHORT, CREATED, vec![status(APP), status(SHORT)]);
    assert_eq!(source.container(SHORT).name.to_string(), "app-fe");
    server.send(SHORT, STOPPED, vec![status(SHORT)]);
    server.send(SHORT, DELETED, Vec::new());
    source.gone(SHORT);
    assert_eq!(server.shared.image_calls.load(Ordering::SeqCst), 1, "an image is asked for once");
    assert_eq!(server.shared.lists.load(Ordering::SeqCst), 1, "nobody listed");

    server.send(SANDBOX, DELETED, Vec::new());
    source.gone(SANDBOX);
    source.wait("that the pod is gone", |fact| {
        matches!(fact, Fact::PodGone { uid, source: Told::Cri } if uid.as_bytes() == UID.as_bytes())
            .then_some(())
    });
}

#[test]
fn a_stream_that_ends_is_opened_again_and_what_went_is_told() {
    let server = Server::start("cri-o", "1.30.1", Stream::Open);
    server.shared.containers.lock().unwrap().push(APP.into());
    let mut source = listening(&server.path, CriEvents::Auto, NEVER_AGAIN);
    source.container(APP);
    server.wait_for_listener();
    server.send(SHORT, STARTED, vec![status(SHORT)]);
    source.container(SHORT);
    server.shared.containers.lock().unwrap().clear();
    server.shared.events.send(None).unwrap();
    source.gone(APP);
    server.wait_for_listener();
    assert_eq!(server.shared.opened.load(Ordering::SeqCst), 2);
    server.send(APP, CREATED, vec![status(APP)]);
    source.container(APP);
}

#[test]
fn where_there_is_no_stream_it_is_asked_for_once_and_lists_go_on() {
    for stream in [Stream::Lacking, Stream::Ends, Stream::Nonsense] {
        let server = Server::start("another", "1", stream);
        let mut source = listening(&server.path, CriEvents::Auto, 100);
        source.wait_for(SourceState::Ok);
        let lists = server.shared.lists.load(Ordering::SeqCst);
        while server.shared.lists.load(Ordering::SeqCst) < lists + 5 {
            std::thread::sleep(Duration::from_millis(20));
        }
        server.shared.containers.lock().unwrap().push(APP.into());
        source.container(APP);
        assert_eq!(server.shared.opened.load(Ordering::SeqCst), 1);
        assert_eq!(source.wait_for(SourceState::Ok).why, "another 1");
    }
}

#[test]
fn a_queue_that_is_shared_is_listened_to_only_when_the_operator_says_so() {
    let table = [
        ("containerd", "1.7.24", CriEvents::Auto, 0),
        ("containerd", "1.7.24", CriEvents::Always, 1),
        ("containerd", "2.1.9", CriEvents::Never, 0),
    ];
    for (name, version, wanted, opened) in table {
        let server = Server::start(name, version, Stream::Open);
        let source = listening(&server.path, wanted, 100);
        source.wait_for(SourceState::Ok);
        while server.shared.lists.load(Ordering::SeqCst) < 5 {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(server.shared.opened.load(Ordering::SeqCst), opened, "{name} {version} {wanted:?}");
    }
}

/// Debian's own answers Unimplemented (1.6); those of later suites announce.
#[test]
fn a_containerd_without_a_stream_is_listed() {
    let name = "a_containerd_without_a_stream_is_listed";
    if lacks(Part::Containerd, name) {
        return;
    }
    follow(Containerd::start().unwrap(), CriEvents::Always);
}

#[test]
fn a_containerd_with_a_queue_for_one_is_listened_to_when_the_operator_says_so() {
    newer(
        "trixie",
        CriEvents::Always,
        "a_containerd_with_a_queue_for_one_is_listened_to_when_the_operator_says_so",
    );
}

#[test]
fn a_containerd_that_tells_everyone_is_listened_to() {
    newer("sid", CriEvents::Auto, "a_containerd_that_tells_everyone_is_listened_to");
}

fn newer(suite: &str, cri_events: CriEvents, name: &str) {
    if lacks(Part::Containerd, name) {
        return;
    }
    match programs(suite) {
        Ok(bin) => follow(Containerd::of(Some(bin)).unwrap(), cri_events),
        Err(why) => skip("containerd-suites", name, &format!("containerd of {suite}: {why:#}")),
    }
}

fn follow(containerd: Containerd, cri_events: CriEvents) {
    let has_stream = containerd.version().unwrap() >= (1, 7);
    let uid =
        format!("e7e2{:04x}-4b5b-4b5b-9d5c-{:012x}", containerd.version().unwrap().0, std::process::id());
    let digest = containerd.digest().unwrap();
    let poll_ms = if has_stream { NEVER_AGAIN } else { 300 };
    let mut source = listening(&containerd.socket(), cri_events, poll_ms);
    source.wait_for(SourceState::Ok);
    // Its listener may not be there yet: it is when it hears of pods.
    let mut earlier = Vec::new();
    if has_stream {
        for n in 0.. {
            let config = containerd.config(&format!("early-{n}"), &format!("{n:08x}{}", &uid[8..]));
            earlier.push(containerd.pod(&config).unwrap());
            let until = Instant::now() + Duration::from_secs(2);
            while Instant::now() < until && !source.wait_for(SourceState::Ok).why.contains("it announces") {
                std::thread::sleep(Duration::from_millis(20));
            }
            if source.wait_for(SourceState::Ok).why.contains("it announces") {
                break;
            }
            assert!(n < 10, "it announces nothing: {:?}", source.wait_for(SourceState::Ok));
        }
    }
    let config = containerd.config("web-1", &uid);
    let sandbox = containerd.pod(&config).unwrap();
    assert_eq!(source.pod(&uid).name.to_string(), "web-1");
    let app = containerd.create(&sandbox, &config, "app", &["/bin/sleep", "600"]).unwrap();
    // It is told, and its program does not run.
    let facts = source.container(&app);
    assert_eq!((facts.name.to_string(), facts.pod_uid.to_string()), ("app".into(), uid.clone()));
    assert!(facts.image.id.as_bytes().starts_with(b"sha256:"), "{facts:?}");
    assert_eq!(facts.image.digests, [digest.as_str().into()]);
    assert_eq!(facts.image.name_and_tag(), (&b"docker.io/bench/busybox"[..], &b"1"[..]));
    assert_eq!(facts.started_ns, 0);
    containerd.launch(&app).unwrap();
    assert!(source.container(&app).started_ns > 0);
    assert_eq!(source.wait_for(SourceState::Ok).why.contains("it announces"), has_stream);
    containerd.remove(&sandbox).unwrap();
    source.wait("that the pod is gone", |fact| {
        matches!(fact, Fact::PodGone { uid: gone, .. } if gone.as_bytes() == uid.as_bytes()).then_some(())
    });
    earlier.iter().for_each(|sandbox| containerd.remove(sandbox).unwrap());
}
