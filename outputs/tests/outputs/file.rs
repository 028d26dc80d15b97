//! The file sink on real filesystems: rotation, logrotate, kill -9, a tmpfs that fills, a size limit.

use crate::common::{alert, recorded, sequences, status, telemetry, telemetry_of, wait};
use hostward_outputs::config::{FileConfig, QueueConfig, SyncPolicy};
use hostward_outputs::{Config, Lane, Outputs, Reason, SinkSpec, State};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn config(dir: &Path) -> FileConfig {
    let queue = QueueConfig { linger_ms: 0, ..QueueConfig::default() };
    FileConfig { path: dir.join("events.jsonl"), queue, ..FileConfig::default() }
}

fn start(config: FileConfig) -> Outputs {
    Outputs::start(vec![SinkSpec { config: Config::File(config), filter: None }]).unwrap()
}

fn counter(outputs: &Outputs, name: &str) -> u64 {
    status(outputs).counters.into_iter().find(|(counter, _)| *counter == name).map_or(0, |(_, value)| value)
}

/// Runs an ignored test of this file in a process of its own.
fn child(test: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]).env("HOSTWARD_TEST_DIR", dir);
    command
}

fn child_dir() -> PathBuf {
    PathBuf::from(std::env::var_os("HOSTWARD_TEST_DIR").expect("run by the test that sets HOSTWARD_TEST_DIR"))
}

#[test]
fn rotation_loses_nothing_and_keeps_what_is_configured() {
    let dir = tempfile::tempdir().unwrap();
    let outputs = start(FileConfig { rotate_bytes: 65_536, keep_files: 1_000, ..config(dir.path()) });
    for sequence in 1..=2_000 {
        outputs.push(&telemetry_of(sequence, 500));
        if sequence % 100 == 0 {
            wait(&outputs, "written", |status| status.delivered == sequence);
        }
    }
    assert!(counter(&outputs, "rotations") >= 10);
    // The compressor works behind; in the end only the live file is plain.
    let deadline = Instant::now() + Duration::from_secs(20);
    let plain = || {
        let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| !name.to_str().unwrap().ends_with(".jsonl.zst")).count()
    };
    while plain() > 1 {
        assert!(Instant::now() < deadline, "the compressor did not finish");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(recorded(dir.path()), (1..=2_000).collect::<Vec<_>>());
    assert!(std::fs::metadata(dir.path().join("events.jsonl")).unwrap().len() <= 65_536);
    assert_eq!(outputs.close(Duration::from_secs(5)).remove(0).left, 0);
}

#[test]
fn a_file_that_logrotate_moved_or_removed_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (path, moved) = (dir.path().join("events.jsonl"), dir.path().join("events.jsonl.1"));
    let outputs = start(config(dir.path()));
    let write = |sequence| {
        outputs.push(&telemetry(sequence));
        wait(&outputs, "written", |status| status.delivered == sequence);
    };
    write(1);
    std::fs::rename(&path, &moved).unwrap();
    write(2);
    assert_eq!(sequences(&std::fs::read(&moved).unwrap()), [1]);
    assert_eq!(sequences(&std::fs::read(&path).unwrap()), [2]);
    std::fs::remove_file(&path).unwrap();
    write(3);
    assert_eq!(sequences(&std::fs::read(&path).unwrap()), [3]);
    // copytruncate
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    write(4);
    assert_eq!(sequences(&std::fs::read(&path).unwrap()), [4]);
    std::fs::remove_dir_all(dir.path()).unwrap();
    write(5);
    assert_eq!(sequences(&std::fs::read(&path).unwrap()), [5]);
    assert_eq!(counter(&outputs, "reopens"), 3);
}

#[test]
fn a_path_that_needs_a_person_is_failed_until_it_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("events.jsonl")).unwrap();
    let outputs = start(config(dir.path()));
    outputs.push(&alert(1));
    let failed = wait(&outputs, "failed", |status| status.health.state == State::Failed);
    assert!(failed.health.reason.contains("symlink"), "{}", failed.health.reason);
    std::fs::remove_file(dir.path().join("events.jsonl")).unwrap();
    wait(&outputs, "mended", |status| status.delivered == 1 && status.health.state == State::Ok);
}

#[test]
#[ignore = "the process that kill_9 kills"]
fn child_writes_until_it_is_killed() {
    let outputs =
        start(FileConfig { rotate_bytes: 1 << 20, sync: SyncPolicy::Always, ..config(&child_dir()) });
    for sequence in 1.. {
        outputs.push(&telemetry_of(sequence, 3_000));
        // Do not outrun the queue: this test is about what was written.
        while status(&outputs).queued > 1_000 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn kill_9_leaves_whole_lines_in_order() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..8 {
        let mut writer =
            child("file::child_writes_until_it_is_killed", dir.path()).stdout(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::fs::metadata(dir.path().join("events.jsonl")).map_or(0, |meta| meta.len()) == 0 {
            assert!(Instant::now() < deadline, "the child writes nothing");
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(40 + 17 * round));
        writer.kill().unwrap();
        writer.wait().unwrap();
        // The next start mends; every line of every file parses, and none within is missing.
        let outputs = start(config(dir.path()));
        wait(&outputs, "opened", |status| {
            status.counters.iter().any(|(name, _)| *name == "torn_lines_cut")
                && dir.path().join("events.jsonl").exists()
        });
        assert_eq!(outputs.close(Duration::from_secs(10)).remove(0).left, 0);
        let all = recorded(dir.path());
        let mut unique = all.clone();
        unique.dedup();
        assert_eq!(unique, (1..=u64::try_from(unique.len()).unwrap()).collect::<Vec<_>>(), "a hole");
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
}

/// A tmpfs of its own, unmounted at the end.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount(options: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "hostward-test"]).arg(dir.path());
        let done = mount.output().is_ok_and(|output| output.status.success());
        done.then_some(Self(dir))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l"]).arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_drops_by_policy_only_and_recovers() {
    let Some(disk) = Tmpfs::mount("size=2m") else {
        let required =
            std::env::var("HOSTWARD_REQUIRE").is_ok_and(|parts| parts.split(',').any(|part| part == "root"));
        assert!(!required, "HOSTWARD_REQUIRE=root: cannot mount a tmpfs");
        eprintln!("SKIPPED a_full_disk_drops_by_policy_only_and_recovers: cannot mount a tmpfs (needs root)");
        return;
    };
    let dir = disk.0.path();
    let queue = QueueConfig {
        max_events: 400,
        alert_reserve_events: 100,
        batch_events: 64,
        linger_ms: 0,
        ..QueueConfig::default()
    };
    let outputs = start(FileConfig { queue, ..config(dir) });
    std::fs::write(dir.join("ballast"), vec![0; 1_400_000]).unwrap();

    let mut sequence = 0;
    let full = loop {
        sequence += 1;
        outputs.push(&telemetry_of(sequence, 1_500));
        std::thread::sleep(Duration::from_micros(200));
        let now = status(&outputs);
        if now.health.state == State::Degraded {
            break now;
        }
        assert!(sequence < 5_000, "the disk never filled");
    };
    assert!(full.health.reason.contains("make room"), "{}", full.health.reason);
    let path = dir.join("events.jsonl");
    let whole = sequences(&std::fs::read(&path).unwrap());
    assert_eq!(
        u64::try_from(whole.len()).unwrap(),
        status(&outputs).delivered,
        "whole lines are delivered, no more"
    );

    // Ten times the queue while the disk is full, and some alerts in between.
    let first_alert = sequence + 1;
    for n in 1..=4_000 {
        sequence += 1;
        outputs.push(&if n % 100 == 0 { alert(sequence) } else { telemetry_of(sequence, 1_500) });
    }
    let lost = status(&outputs);
    assert!(
        lost.dropped.iter().all(|d| (d.lane, d.reason) == (Lane::Telemetry, Reason::QueueFull)),
        "{lost:#?}"
    );
    let waiting = lost.queued + lost.in_flight;
    assert!(waiting <= 400 && lost.dropped_events() > 3_000);

    std::fs::remove_file(dir.join("ballast")).unwrap();
    let end = wait(&outputs, "all written", |status| status.queued + status.in_flight == 0);
    assert_eq!(end.dropped_events(), lost.dropped_events(), "what waited when room returned is there");
    let all = sequences(&std::fs::read(&path).unwrap());
    assert_eq!(u64::try_from(all.len()).unwrap(), end.delivered);
    let mut unique = all.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), all.len(), "nothing is there twice");
    let alerts: Vec<u64> = (first_alert..=sequence).filter(|s| (s - first_alert + 1) % 100 == 0).collect();
    assert!(alerts.iter().all(|alert| all.contains(alert)), "every alert arrived");
    let position = |sequence: u64| all.iter().position(|s| *s == sequence).unwrap();
    assert!(position(*alerts.last().unwrap()) < position(sequence - 1), "alerts were written first");
}

#[test]
#[ignore = "the process that a_file_size_limit runs"]
fn child_writes_under_a_file_size_limit() {
    let limit = rustix::process::Rlimit { current: Some(100_000), maximum: Some(100_000) };
    rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
    let outputs = start(config(&child_dir()));
    for sequence in 1..=500 {
        outputs.push(&telemetry_of(sequence, 1_500));
    }
    let end = wait(&outputs, "written", |status| status.delivered == 500);
    assert_eq!(end.failed_sends, 0, "the file is put aside early: {end:#?}");
    assert!(counter(&outputs, "rotations") >= 5);
}

#[test]
fn a_file_size_limit_is_survived_by_early_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let output = child("file::child_writes_under_a_file_size_limit", dir.path()).output().unwrap();
    assert!(output.status.success(), "{:?} {}", output.status, String::from_utf8_lossy(&output.stdout));
    assert_eq!(recorded(dir.path()), (1..=500).collect::<Vec<_>>());
}

#[test]
fn age_rotates_at_the_next_event() {
    let dir = tempfile::tempdir().unwrap();
    let outputs = start(FileConfig { rotate_age_s: 1, ..config(dir.path()) });
    for sequence in 1..=2 {
        outputs.push(&telemetry(sequence));
        wait(&outputs, "written", |status| status.delivered == sequence);
        std::thread::sleep(Duration::from_millis(1_100));
    }
    assert_eq!(counter(&outputs, "rotations"), 1);
    assert_eq!(recorded(dir.path()), [1, 2]);
}
