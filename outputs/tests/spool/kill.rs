//! kill -9 of a process that writes, reads and prints what it was told to be durable.

use crate::tools::{append, config, drain, id_of, names, noise};
use hostward_outputs::Lane;
use hostward_outputs::spool::{LaneConfig, Lanes, Settled, Spool, SpoolConfig};
use std::collections::{BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const ROUNDS: u64 = 50;
const DIR: &str = "HOSTWARD_TEST_SPOOL";

fn small(dir: &Path) -> SpoolConfig {
    let segment_bytes = 65_536;
    SpoolConfig {
        alert: LaneConfig { segment_bytes, ..LaneConfig::alert() },
        telemetry: LaneConfig { segment_bytes, ..LaneConfig::default() },
        ..config(dir)
    }
}

/// Writes `a ID` for each record that is durable and `d ID` before each delivery to sink `fast`.
#[test]
#[ignore = "the process that kill_9 kills"]
fn child_writes_until_it_is_killed() {
    let dir = PathBuf::from(std::env::var_os(DIR).unwrap());
    let begin: u64 = std::env::var("HOSTWARD_TEST_BEGIN").unwrap().parse().unwrap();
    let spool = Spool::open(&small(&dir), &names(&["fast", "slow"])).unwrap();
    let reader = spool.reader("fast").unwrap();
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
        for (at, lane) in [Lane::Alert, Lane::Telemetry].into_iter().enumerate() {
            let durable = spool.durable_seq(lane);
            while let Some((_, id)) = waiting[at].pop_front_if(|(seq, _)| *seq < durable) {
                writeln!(out, "a {id}").unwrap();
            }
        }
        let records = reader.take(Lanes::Both, 20, u64::MAX);
        for record in &records {
            writeln!(out, "d {}", id_of(record.bytes())).unwrap();
        }
        out.flush().unwrap();
        reader.settle(&records, records.iter().map(|_| Settled::Delivered)).unwrap();
        std::thread::sleep(Duration::from_micros(500));
    }
}

#[test]
fn kill_9_at_any_moment_loses_no_record_that_was_called_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (mut durable, mut delivered) = (BTreeSet::new(), BTreeSet::new());
    let mut dice = fastrand::Rng::with_seed(4);
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::child_writes_until_it_is_killed", "--ignored", "--nocapture"])
            .env(DIR, dir.path())
            .env("HOSTWARD_TEST_BEGIN", (round * 1_000_000 + 1).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // It has begun, in every round but a few.
        let mut take = |line: &str| {
            let mut words = line.split(' ');
            if let (Some(word @ ("a" | "d")), Some(Ok(id))) =
                (words.next(), words.next().map(str::parse::<u64>))
            {
                if word == "a" {
                    durable.insert(id)
                } else {
                    delivered.insert(id)
                };
                return true;
            }
            false
        };
        if round % 10 != 9 {
            while !take(&lines.next().expect("the child ended").unwrap()) {}
        }
        let pid = child.id();
        let pause = Duration::from_micros(dice.u64(0..60_000));
        let killer = std::thread::spawn(move || {
            std::thread::sleep(pause);
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        });
        // A last line may be cut: it is not counted.
        let mut last = None;
        for line in lines.map_while(Result::ok) {
            if let Some(whole) = last.replace(line) {
                take(&whole);
            }
        }
        killer.join().unwrap();
        child.wait().unwrap();
        drop(last);
    }
    assert!(durable.len() > 1_000, "{} were durable", durable.len());

    let spool = Spool::open(&small(dir.path()), &names(&["fast", "slow"])).unwrap();
    for lane in spool.status().lanes {
        assert_eq!((lane.counters.bad_blocks, lane.counters.state_rebuilt), (0, 0), "{lane:#?}");
    }
    for (sink, had) in [("slow", BTreeSet::new()), ("fast", delivered)] {
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
        let there: BTreeSet<u64> = ids.into_iter().chain(had).collect();
        let lost: Vec<&u64> = durable.difference(&there).collect();
        assert!(
            lost.is_empty(),
            "{sink}: {} of {} durable records are lost: {lost:?}",
            lost.len(),
            durable.len()
        );
        let dropped: u64 = reader.books().iter().map(|books| books.dropped_events()).sum();
        assert_eq!(dropped, 0, "{sink}: a kill damages nothing");
    }
    spool.close();
}
