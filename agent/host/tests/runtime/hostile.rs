//! Sockets that hang, lie, or close: a degraded line, and nothing else.

use crate::source::Source;
use hostward_event::fact::Fact;
use hostward_host::SourceState;
use std::io::Write;
use std::os::unix::net::UnixListener;

const KINDS: [&str; 2] = ["cri", "docker"];

#[test]
fn a_socket_that_hangs_is_degraded_and_a_question_is_answered_with_no() {
    for kind in KINDS {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let _listener = UnixListener::bind(&path).unwrap();
        let mut source = Source::start(kind, &path, 200);
        let report = source.wait_for(SourceState::Degraded);
        assert!(report.why.contains("no answer within 200 ms"), "{report:?}");
        source.ask("abc");
        source
            .wait("that nobody knows it", |fact| matches!(fact, Fact::ContainerUnknown { .. }).then_some(()));
    }
}

#[test]
fn a_socket_that_lies_or_closes_is_degraded() {
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n[".to_vec(), vec![b' '; 17 << 20]].concat();
    let answers = [b"HTTP/1.1 200 OK\r\n\r\n<html>".to_vec(), Vec::new(), vec![0xff; 4096], endless];
    for (kind, answer) in
        KINDS.iter().flat_map(|kind| answers.iter().map(move |answer| (kind, answer.clone())))
    {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(&answer);
            }
        });
        let report = Source::start(kind, &path, 5_000).wait_for(SourceState::Degraded);
        assert!(!report.why.is_empty(), "{report:?}");
    }
}

#[test]
fn a_socket_that_is_not_there_says_so() {
    for kind in KINDS {
        let dir = tempfile::tempdir().unwrap();
        let report = Source::start(kind, &dir.path().join("none"), 2_000).wait_for(SourceState::Degraded);
        assert!(report.why.contains(" running, and may this agent open its socket?"), "{report:?}");
    }
}
