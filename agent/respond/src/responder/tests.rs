//! Real children are killed, spared, gone or somebody else.

use super::*;
use crate::process::Stat;
use hostward_event::{EventKind, IdMint};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::sync::mpsc;

struct Victim(Child);

impl Victim {
    fn new() -> Self {
        Self::run(Command::new("sleep").arg("1000"), b"sleep")
    }

    /// Waits until the child runs its program: fork comes before exec.
    fn run(command: &mut Command, comm: &[u8]) -> Self {
        let child = command.spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while Stat::read(child.id()).unwrap().comm != comm {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(1));
        }
        Self(child)
    }

    fn request(&self, n: u64) -> KillRequest {
        let start_boot_ns = Stat::read(self.0.id()).unwrap().start_boot_ns();
        KillRequest { alert: alert(n), response: Text::from("r"), pid: self.0.id(), start_boot_ns }
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn alert(n: u64) -> EventId {
    IdMint::new("m", "b").event(EventKind::Exec, 0, n, 0)
}

fn start(config: &Config) -> (Responder, mpsc::Receiver<ActionResult>) {
    let (results, told) = mpsc::sync_channel(100);
    (Responder::start(config, move |result| results.send(result).unwrap()).unwrap(), told)
}

fn ask(config: &Config, request: KillRequest) -> ActionResult {
    let (responder, told) = start(config);
    let expected = request.alert;
    responder.submit(request);
    let result = told.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(result.alert, expected);
    result
}

#[test]
fn a_process_is_killed_and_the_result_says_when() {
    let mut victim = Victim::new();
    let before = boot_ns();
    let result = ask(&Config::default(), victim.request(1));
    assert_eq!((result.outcome, result.detail), (Outcome::Killed, Text::EMPTY));
    assert!((before..=boot_ns()).contains(&result.boot_ns));
    assert_eq!(victim.0.wait().unwrap().signal(), Some(9));
}

#[test]
fn a_process_that_is_gone_is_already_gone() {
    let mut victim = Victim::new();
    let request = victim.request(1);
    // A zombie has ended, too.
    victim.0.kill().unwrap();
    while !victim_is_zombie(victim.0.id()) {
        std::thread::yield_now();
    }
    assert_eq!(ask(&Config::default(), request.clone()).outcome, Outcome::AlreadyGone);
    victim.0.wait().unwrap();
    assert_eq!(ask(&Config::default(), request).outcome, Outcome::AlreadyGone);
}

fn victim_is_zombie(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") Z ")
}

#[test]
fn a_recycled_pid_is_spared() {
    let mut bystander = Victim::new();
    let request = bystander.request(1);
    let earlier = KillRequest { start_boot_ns: request.start_boot_ns - 1_000_000_000, ..request };
    let result = ask(&Config::default(), earlier);
    assert_eq!(result.outcome, Outcome::AlreadyGone);
    assert!(result.detail.to_string().contains("started at another time"));
    assert!(bystander.lives());
}

#[test]
fn protected_programs_live_by_path_and_by_name() {
    let mut victim = Victim::new();
    let exe = std::fs::read_link(format!("/proc/{}/exe", victim.0.id())).unwrap();
    let by_path = Config { protected_paths: vec![exe.to_str().unwrap().into()], ..Config::default() };
    let by_name = Config { protected_comms: vec!["sleep".into()], ..Config::default() };
    for (config, why) in [(by_path, "its path"), (by_name, "its name")] {
        let result = ask(&config, victim.request(1));
        assert_eq!(result.outcome, Outcome::Protected);
        assert!(result.detail.to_string().starts_with(why), "{}", result.detail);
    }
    assert!(victim.lives());
}

/// A copy of sleep. By another process: a descriptor of ours, open for writing, could be inherited by a child that another
/// test starts just then, and the program would be busy.
fn sleep_at(to: &std::path::Path) {
    assert!(Command::new("cp").arg("/bin/sleep").arg(to).status().unwrap().success());
}

#[test]
fn a_program_upgraded_under_its_process_stays_protected() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("daemon");
    sleep_at(&program);
    let mut victim = Victim::run(Command::new(&program).arg("1000"), b"daemon");
    let config = Config { protected_paths: vec![program.to_str().unwrap().into()], ..Config::default() };
    let fresh = dir.path().join("fresh");
    sleep_at(&fresh);
    std::fs::rename(&fresh, &program).unwrap();
    assert_eq!(ask(&config, victim.request(1)).outcome, Outcome::Protected);
    assert!(victim.lives());
}

#[test]
fn a_stranger_in_a_protected_programs_clothes_is_killed() {
    // In a mount namespace of its own another file lies under the protected path, as in a container.
    let dir = tempfile::tempdir().unwrap();
    let (path, stranger) = (dir.path().join("daemon"), dir.path().join("stranger"));
    sleep_at(&path);
    sleep_at(&stranger);
    let script =
        format!("mount --bind {} {path} && exec {path} 1000", stranger.display(), path = path.display());
    let able =
        Command::new("unshare").args(["-m", "true"]).output().is_ok_and(|output| output.status.success());
    if !able {
        let required =
            std::env::var("HOSTWARD_REQUIRE").is_ok_and(|parts| parts.split(',').any(|part| part == "root"));
        assert!(!required, "HOSTWARD_REQUIRE=root: cannot make a mount namespace");
        eprintln!(
            "SKIPPED a_stranger_in_a_protected_programs_clothes_is_killed: cannot make a mount namespace (needs root)"
        );
        return;
    }
    let victim = Victim::run(Command::new("unshare").args(["-m", "sh", "-c", &script]), b"daemon");
    let seen = std::fs::read_link(format!("/proc/{}/exe", victim.0.id())).unwrap();
    assert_eq!(seen, path, "the kernel shows the protected path");
    let config = Config { protected_paths: vec![path.to_str().unwrap().into()], ..Config::default() };
    assert_eq!(ask(&config, victim.request(1)).outcome, Outcome::Killed);
}

#[test]
fn the_agent_its_ancestors_and_pid_1_are_never_killed() {
    let me = std::process::id();
    let parent = Stat::read(me).unwrap().ppid;
    for pid in [0, 1, me, parent] {
        let start_boot_ns = Stat::read(pid.max(1)).unwrap().start_boot_ns();
        let request = KillRequest { alert: alert(1), response: Text::from("r"), pid, start_boot_ns };
        assert_eq!(ask(&Config::default(), request).outcome, Outcome::Protected, "pid {pid}");
    }
}

#[test]
fn at_the_cap_a_response_only_says_what_it_would_have_done() {
    let config = Config { max_kills: 2, ..Config::default() };
    let (mut responder, told) = start(&config);
    let mut victims: Vec<_> = (0..4).map(|_| Victim::new()).collect();
    for (n, victim) in (0..).zip(&victims) {
        responder.submit(victim.request(n));
    }
    let results: Vec<_> = (0..4).map(|_| told.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
    let outcomes: Vec<_> = results.iter().map(|result| result.outcome).collect();
    assert_eq!(outcomes, [Outcome::Killed, Outcome::Killed, Outcome::WouldHave, Outcome::WouldHave]);
    assert!(results[2].detail.to_string().contains("cap of 2 kills in 60 s"), "{}", results[2].detail);
    assert!(victims[2].lives() && victims[3].lives());
    assert_eq!(responder.tripped(), [Text::from("r")]);
    responder.rearm();
    responder.submit(victims[2].request(5));
    assert!(responder.close(), "what was submitted is carried out before the end");
    assert_eq!(told.recv_timeout(Duration::from_secs(10)).unwrap().outcome, Outcome::Killed);
    assert_eq!(responder.stats(), Stats { submitted: 5, refused: 0, reported: 5, killed: 3 });
}

#[test]
fn a_full_queue_fails_the_request_and_never_blocks() {
    let (results, told) = mpsc::sync_channel(0);
    let config = Config { queue_length: 2, ..Config::default() };
    let mut responder = Responder::start(&config, move |result| results.send(result).unwrap()).unwrap();
    let victim = Victim::new();
    let gone = KillRequest { start_boot_ns: 1, ..victim.request(0) };
    // The first is carried out and its report blocks; two wait; the rest is too much.
    responder.submit(gone.clone());
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    for n in 1..=5 {
        responder.submit(KillRequest { alert: alert(n), ..gone.clone() });
    }
    assert!(begun.elapsed() < Duration::from_secs(1));
    let mut outcomes: Vec<_> = (0..6)
        .map(|_| told.recv_timeout(Duration::from_secs(10)).unwrap())
        .map(|result| (result.alert, result.outcome, result.detail.to_string().contains("queue")))
        .collect();
    outcomes.sort_by_key(|(id, ..)| (0..=5).position(|n| alert(n) == *id));
    let expected =
        |n| if n < 3 { (alert(n), Outcome::AlreadyGone, false) } else { (alert(n), Outcome::Failed, true) };
    assert_eq!(outcomes, (0..=5).map(expected).collect::<Vec<_>>());
    assert!(responder.close());
    assert_eq!(responder.stats().refused, 3);
}
