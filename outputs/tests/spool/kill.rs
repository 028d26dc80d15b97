//! kill -9 of a process that writes, reads, refuses and prints what it was told to be durable: at random moments,
//! and at each of the places that the spool names (`src/spool/point.rs`).

use crate::tools::{GRACE, append, config, drain, id_of, names, noise};
use hostward_outputs::Lane;
use hostward_outputs::spool::{LaneConfig, Lanes, Reader, Record, Settled, Spool, SpoolConfig};
use std::collections::{BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// With those at named places more than 200.
const RANDOM_ROUNDS: u64 = 110;
const NAMED_ROUNDS: u32 = 4;
const DIR: &str = "HOSTWARD_TEST_SPOOL";
const BEGIN: &str = "HOSTWARD_TEST_BEGIN";
const BOTH: &str = "HOSTWARD_TEST_BOTH_READ";
const KILL_AT: &str = "HOSTWARD_TEST_KILL_AT";

/// Every name in the spool's source but `state made`, and up to which of its turns the process lives.
const POINTS: [(&str, u32); 21] = [
    ("segment made", 6),
    ("segment begun", 6),
    ("block half written", 60),
    ("block written", 60),
    ("file synced", 20),
    ("footer half written", 4),
    ("footer written", 4),
    ("segment renamed", 4),
    ("directory synced", 6),
    ("records settled", 60),
    ("letters half written", 10),
    ("letters synced", 10),
    ("state half written", 5),
    ("state written", 5),
    ("state synced", 5),
    ("segment let go", 8),
    ("recovery has read", 2),
    ("recovery has cut", 1),
    ("recovery has sealed", 2),
    ("recovery is done", 2),
    // Sealing what the last kill left open.
    ("footer half written", 1),
];

fn small(dir: &Path) -> SpoolConfig {
    let segment_bytes = 65_536;
    SpoolConfig {
        alert: LaneConfig { segment_bytes, ..LaneConfig::alert() },
        telemetry: LaneConfig { segment_bytes, ..LaneConfig::default() },
        ..config(dir)
    }
}

/// The destination of `fast` refuses some.
fn verdict(record: &Record) -> Settled {
    match id_of(record.bytes()) % 50 {
        7 => Settled::Rejected { reason: "not this one".to_owned(), document: None },
        _ => Settled::Delivered,
    }
}

fn read(reader: &Reader, word: &str, out: &mut impl Write, verdict: impl Fn(&Record) -> Settled) {
    let records = reader.take(Lanes::Both, 20, u64::MAX);
    let verdicts: Vec<Settled> = records.iter().map(verdict).collect();
    for (record, verdict) in records.iter().zip(&verdicts) {
        if *verdict == Settled::Delivered {
            writeln!(out, "{word} {}", id_of(record.bytes())).unwrap();
        }
    }
    out.flush().unwrap();
    reader.settle(&records, verdicts).unwrap();
}

/// Writes `a ID` for each record that is durable, and `fast ID` or `slow ID` before each delivery.
#[test]
#[ignore = "the process that is killed"]
fn child_writes_until_it_is_killed() {
    let dir = PathBuf::from(std::env::var_os(DIR).unwrap());
    let begin: u64 = std::env::var(BEGIN).unwrap().parse().unwrap();
    let both = std::env::var_os(BOTH).is_some();
    let deadline = Instant::now() + Duration::from_secs(120);
    let spool = Spool::open(&small(&dir), &names(&["fast", "slow"])).unwrap();
    let (fast, slow) = (spool.reader("fast").unwrap(), spool.reader("slow").unwrap());
    let mut out = std::io::stdout().lock();
    let mut waiting: [VecDeque<(u64, u64)>; 2] = Default::default();
    for id in begin.. {
        let lane = if id % 10 == 0 { Lane::Alert } else { Lane::Telemetry };
        let at = usize::from(lane == Lane::Telemetry);
        let seq = append(&spool, lane, &["fast", "slow"], id, &noise(id, 60)).unwrap();
        waiting[at].push_back((seq, id));
        if id % 16 != 0 {
            continue;
        }
        assert!(Instant::now() < deadline, "nobody killed this process");
        for (at, lane) in [Lane::Alert, Lane::Telemetry].into_iter().enumerate() {
            let durable = spool.durable_seq(lane);
            while let Some((_, id)) = waiting[at].pop_front_if(|(seq, _)| *seq < durable) {
                writeln!(out, "a {id}").unwrap();
            }
        }
        read(&fast, "fast", &mut out, verdict);
        if both {
            read(&slow, "slow", &mut out, |_| Settled::Delivered);
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// What the killed processes said.
struct Oracle {
    dir: tempfile::TempDir,
    rounds: u64,
    durable: BTreeSet<u64>,
    /// By sink: fast, slow.
    delivered: [BTreeSet<u64>; 2],
}

impl Oracle {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, rounds: 0, durable: BTreeSet::new(), delivered: Default::default() }
    }

    fn spawn(&mut self, prepare: impl FnOnce(&mut Command)) -> Child {
        self.rounds += 1;
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "kill::child_writes_until_it_is_killed", "--ignored", "--nocapture"])
            .env(DIR, self.dir.path())
            .env(BEGIN, (self.rounds * 1_000_000 + 1).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        prepare(&mut command);
        command.spawn().unwrap()
    }

    /// True: the line is a word about an id.
    fn hear(&mut self, line: &str) -> bool {
        let Some((word, id)) = line.split_once(' ') else { return false };
        let Ok(id) = id.parse() else { return false };
        match word {
            "a" => self.durable.insert(id),
            "fast" => self.delivered[0].insert(id),
            "slow" => self.delivered[1].insert(id),
            _ => return false,
        };
        true
    }

    /// Hears the rest. A line that the kill cut has no end, and is not counted; a whole one is, also the last: what it
    /// speaks of may be settled on disk.
    fn hear_out(&mut self, mut lines: impl BufRead) {
        let mut line = String::new();
        while lines.read_line(&mut line).unwrap() > 0 {
            if let Some(whole) = line.strip_suffix('\n') {
                self.hear(whole);
            }
            line.clear();
        }
    }

    /// Killed after a pause, from outside. `begun`: not before it has said something.
    fn kill_after(&mut self, pause: Duration, begun: bool) {
        let mut child = self.spawn(|_| {});
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        if begun {
            let first = lines.by_ref().lines().map(Result::unwrap).any(|line| self.hear(&line));
            assert!(first, "the child ended");
        }
        let pid = rustix::process::Pid::from_child(&child);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(pause);
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        });
        self.hear_out(lines);
        killer.join().unwrap();
        child.wait().unwrap();
    }

    /// Killed when it comes to a place the nth time.
    fn kill_at(&mut self, point: &str, nth: u32) {
        let mut child = self.spawn(|command| {
            command.env(KILL_AT, format!("{point}:{nth}"));
            // Else every segment waits for `slow`.
            if point == "segment let go" {
                command.env(BOTH, "1");
            }
        });
        self.hear_out(BufReader::new(child.stdout.take().unwrap()));
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "it came to `{point}` {nth} times: {status}");
    }

    /// Ids in the dead letters of a sink. A file's last line may be cut.
    fn refused(&self, sink: &str) -> BTreeSet<u64> {
        let mut ids = BTreeSet::new();
        let Ok(files) = std::fs::read_dir(config(self.dir.path()).dir.join("dlq").join(sink)) else {
            return ids;
        };
        for file in files {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
                let letter: serde_json::Value = serde_json::from_str(line).unwrap();
                ids.insert(u64::from_str_radix(letter["event_id"].as_str().unwrap(), 16).unwrap());
            }
        }
        ids
    }

    /// Opens what the kills left, and looks for everything that was called durable.
    fn judge(self) {
        let spool = Spool::open(&small(self.dir.path()), &names(&["fast", "slow"])).unwrap();
        for lane in spool.status().lanes {
            assert_eq!((lane.counters.bad_blocks, lane.counters.state_rebuilt), (0, 0), "{lane:#?}");
        }
        for (sink, had) in ["fast", "slow"].into_iter().zip(&self.delivered) {
            let reader = spool.reader(sink).unwrap();
            let records = drain(&spool, &reader);
            let mut ids: Vec<u64> = records.iter().map(|(_, record)| id_of(record)).collect();
            for (lane, record) in &records {
                assert_eq!(record, &noise(id_of(record), 60), "whole");
                assert_eq!(*lane == Lane::Alert, id_of(record).is_multiple_of(10));
            }
            ids.sort_unstable();
            let count = ids.len();
            ids.dedup();
            assert_eq!(ids.len(), count, "{sink}: nothing is there twice");
            let refused = self.refused(sink);
            assert!(refused.iter().all(|id| sink == "fast" && id % 50 == 7), "{sink}: {refused:?}");
            let there: BTreeSet<u64> = ids.into_iter().chain(refused).chain(had.iter().copied()).collect();
            let lost: Vec<&u64> = self.durable.difference(&there).collect();
            assert!(
                lost.is_empty(),
                "{sink}: {} of {} durable records are lost: {lost:?}",
                lost.len(),
                self.durable.len()
            );
            let dropped: u64 = reader.books().iter().map(|books| books.dropped_events()).sum();
            assert_eq!(dropped, 0, "{sink}: a kill damages nothing");
        }
        assert!(spool.close(GRACE));
    }
}

#[test]
fn kill_9_at_any_moment_loses_no_record_that_was_called_durable() {
    let mut oracle = Oracle::new();
    let mut dice = fastrand::Rng::with_seed(4);
    for round in 0..RANDOM_ROUNDS {
        // It has begun, in every round but a few.
        oracle.kill_after(Duration::from_micros(dice.u64(0..60_000)), round % 10 != 9);
    }
    assert!(oracle.durable.len() > 1_000, "{} were durable", oracle.durable.len());
    assert!(!oracle.refused("fast").is_empty());
    oracle.judge();
}

#[test]
fn kill_9_at_each_named_place_loses_no_record_that_was_called_durable() {
    if !cfg!(debug_assertions) {
        eprintln!("SKIPPED kill_9_at_each_named_place: a build without debug assertions has no named places");
        return;
    }
    let mut dice = fastrand::Rng::with_seed(4);
    let mut kills = RANDOM_ROUNDS;
    // A first start makes a state for each of the two lanes.
    for turns in [&[1, 1], &[2][..]] {
        let mut oracle = Oracle::new();
        for turn in turns {
            oracle.kill_at("state made", *turn);
        }
        oracle.kill_at("block written", 20);
        kills += oracle.rounds;
        oracle.judge();
    }
    let mut oracle = Oracle::new();
    for _ in 0..NAMED_ROUNDS {
        for (point, most) in POINTS {
            // So that a start finds something to cut and to seal.
            if point == "recovery has cut" || most == 1 {
                oracle.kill_at("block written", 20);
            }
            oracle.kill_at(point, dice.u32(1..=most));
        }
    }
    kills += oracle.rounds;
    assert!(kills >= 200, "{kills} kills");
    assert!(oracle.durable.len() > 1_000, "{} were durable", oracle.durable.len());
    assert!(oracle.delivered.iter().all(|ids| !ids.is_empty()));
    oracle.judge();
}
