//! Docker's API as a daemon of the test's own speaks it: what a real one does too rarely to wait for.

use crate::source::Source;
use hostward_event::fact::Fact;
use hostward_event::workload::Source as Told;
use hostward_host::SourceState;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const FIRST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const SECOND: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

/// Answers on a thread for each connection, one request each.
struct Daemon {
    _dir: tempfile::TempDir,
    path: PathBuf,
    /// What `/containers/json` lists.
    listed: Mutex<Vec<&'static str>>,
    /// It takes requests and answers none.
    hangs: AtomicBool,
    /// How long an inspect takes.
    inspect: Duration,
    /// Containers are there from this time on.
    there: Instant,
    streams: Mutex<Vec<UnixStream>>,
    inspects: AtomicUsize,
}

impl Daemon {
    fn start(listed: &[&'static str], inspect: Duration, late: Duration) -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let daemon = Arc::new(Self {
            _dir: dir,
            path,
            listed: Mutex::new(listed.to_vec()),
            hangs: AtomicBool::new(false),
            inspect,
            there: Instant::now() + late,
            streams: Mutex::default(),
            inspects: AtomicUsize::new(0),
        });
        let own = Arc::clone(&daemon);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let own = Arc::clone(&own);
                std::thread::spawn(move || own.serve(stream));
            }
        });
        daemon
    }

    fn serve(&self, mut stream: UnixStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let Some(Ok(request)) = lines.next() else { return };
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
        if self.hangs.load(Ordering::SeqCst) {
            self.streams.lock().unwrap().push(stream);
            return;
        }
        let (status, body) = match path.as_str() {
            "/version" => (200, r#"{"Version":"1","Components":[{"Name":"Fake"}]}"#.to_owned()),
            "/containers/json?all=true" => {
                let rows = self.listed.lock().unwrap();
                let rows: Vec<String> = rows.iter().map(|id| format!(r#"{{"Id":"{id}"}}"#)).collect();
                (200, format!("[{}]", rows.join(",")))
            }
            path if path.starts_with("/events") => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
                // Kept open: nothing happens.
                self.streams.lock().unwrap().push(stream);
                return;
            }
            path if path.starts_with("/containers/") && Instant::now() >= self.there => {
                self.inspects.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(self.inspect);
                let asked = path.split('/').nth(2).unwrap_or_default();
                // As Docker does, by the beginning of an id.
                let id = if FIRST.starts_with(asked) { FIRST } else { asked };
                (200, format!(r#"{{"Id":"{id}","Name":"/web"}}"#))
            }
            _ => (404, String::new()),
        };
        let head =
            format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        let _ = stream.write_all(&[head.as_bytes(), body.as_bytes()].concat());
    }

    /// Ends the streams of events, as a daemon that restarts does.
    fn hang_up(&self) {
        self.streams.lock().unwrap().clear();
    }
}

const NO_TIME: Duration = Duration::ZERO;

#[test]
fn what_went_while_the_daemon_was_away_is_told() {
    let daemon = Daemon::start(&[FIRST, SECOND], NO_TIME, NO_TIME);
    let mut source = Source::start("docker", &daemon.path, 5_000);
    source.container(FIRST);
    assert_eq!(source.wait_for(SourceState::Ok).containers, 2);
    daemon.listed.lock().unwrap().retain(|id| *id == SECOND);
    daemon.hang_up();
    source.wait("that the first is gone", |fact| {
        let gone = |id: &hostward_event::Text| id.as_bytes() == FIRST.as_bytes();
        matches!(fact, Fact::ContainerGone { id, source: Told::Docker } if gone(id)).then_some(())
    });
}

#[test]
fn a_daemon_that_hangs_after_its_events_were_opened_is_degraded() {
    let daemon = Daemon::start(&[FIRST], NO_TIME, NO_TIME);
    let source = Source::start("docker", &daemon.path, 300);
    source.wait_for(SourceState::Ok);
    daemon.hangs.store(true, Ordering::SeqCst);
    let report = source.wait_for(SourceState::Degraded);
    assert!(report.why.contains("no answer within 300 ms"), "{report:?}");
    assert_eq!(report.containers, 1, "what it told stays");
}

#[test]
fn a_question_does_not_wait_for_the_first_list() {
    let many: Vec<&'static str> = (0..50).map(|n| &*format!("{n:064x}").leak()).collect();
    let daemon = Daemon::start(&many, Duration::from_millis(500), NO_TIME);
    let mut source = Source::start("docker", &daemon.path, 5_000);
    while daemon.inspects.load(Ordering::SeqCst) == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    source.ask(SECOND);
    source.container(SECOND);
    assert!(daemon.inspects.load(Ordering::SeqCst) < 25, "the list is still under way");
}

#[test]
fn a_container_that_is_there_a_moment_later_is_found() {
    let daemon = Daemon::start(&[], NO_TIME, Duration::from_millis(2_200));
    let mut source = Source::start("docker", &daemon.path, 5_000);
    source.wait_for(SourceState::Ok);
    // Its last try comes 1,550 ms after the first.
    while Instant::now() + Duration::from_millis(1_400) < daemon.there {
        std::thread::sleep(Duration::from_millis(5));
    }
    source.ask(SECOND);
    source.container(SECOND);
}

#[test]
fn a_name_and_the_beginning_of_an_id_are_no_id() {
    let daemon = Daemon::start(&[FIRST], NO_TIME, NO_TIME);
    let mut source = Source::start("docker", &daemon.path, 5_000);
    source.wait_for(SourceState::Ok);
    for wrong in ["web/../x", "0123456789ab"] {
        source.ask(wrong);
        source.wait("that nobody knows it", |fact| {
            matches!(fact, Fact::ContainerUnknown { id } if id.as_bytes() == wrong.as_bytes()).then_some(())
        });
    }
}
