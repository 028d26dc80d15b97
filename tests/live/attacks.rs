//! What a program can do to be told wrongly, or to drive who reads of it: each attack is made for real.

use anyhow::{Context, Result, ensure};
use hostward_tests::{Agent, Part, Record, Setup, child, lacks};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Names that drive a terminal, end a line, turn the reading direction, or are no text.
const HOSTILE: [&[u8]; 4] =
    [b"\x1b[2J\x1b]0;owned\x07", b"two\nlines\rhere", "\u{202e}exe.gpj\u{9b}".as_bytes(), b"\xff\xfe\x01"];

fn about(records: &[Record], pid: u32, action: &str) -> Vec<Record> {
    let own = |r: &&Record| r.is(action) && r.number("process.pid") == Some(pid.into());
    records.iter().filter(own).cloned().collect()
}

/// All that the agent has told when it has ended.
fn told(agent: &mut Agent) -> Result<Vec<Record>> {
    ensure!(agent.stop()?.success(), "{}", agent.log());
    ensure!(!agent.log().contains("panicked"), "{}", agent.log());
    agent.feed().records()
}

/// Lost events of a kind, by their gaps.
fn lost(records: &[Record], kind: &str) -> i64 {
    let gaps = records.iter().filter(|r| r.text("hostward.gap.type") == Some(kind));
    gaps.filter_map(|r| r.number("hostward.gap.count")).sum()
}

/// A tree of 510 shells at once, each below another: 2 + 4 + … + 256.
const BOMB: &str = "f() { [ $1 -gt 0 ] || return 0; f $(($1 - 1)) & f $(($1 - 1)) & wait; }; f 8";
const BOMB_FORKS: i64 = 510;

/// Bursts the bomb; gives how many of its forks were told and how many forks were lost.
fn burst(mut agent: Agent) -> Result<(i64, i64)> {
    let bomb = child::sh(BOMB)?;
    ensure!(bomb.code == Some(0), "{bomb:?}");
    let records = told(&mut agent)?;
    let root = about(&records, bomb.pid, "exec");
    let root = root.first().and_then(|r| r.text("process.entity_id"));
    let mut family: BTreeSet<&str> = root.into_iter().collect();
    let mut forks = 0;
    for fork in records.iter().filter(|r| r.is("fork")) {
        let id = fork.text("process.entity_id").context("a fork without an entity id")?;
        if fork.text("process.parent.entity_id").is_some_and(|parent| family.contains(parent)) {
            ensure!(family.insert(id), "two processes have the entity id {id}");
            forks += 1;
        }
    }
    Ok((forks, lost(&records, "fork")))
}

#[test]
fn a_fork_bomb_is_told_to_the_last_process() -> Result<()> {
    if lacks(Part::Kernel, "a_fork_bomb_is_told_to_the_last_process") {
        return Ok(());
    }
    let (told, lost) = burst(Agent::start()?)?;
    ensure!((told, lost) == (BOMB_FORKS, 0), "{told} told and {lost} lost of {BOMB_FORKS}");
    Ok(())
}

#[test]
fn a_fork_bomb_against_a_small_ring_is_told_or_counted() -> Result<()> {
    if lacks(Part::Kernel, "a_fork_bomb_against_a_small_ring_is_told_or_counted") {
        return Ok(());
    }
    let agent = Setup::new()?.config("[sensor]\nprocess_ring_bytes = 4096\n")?.start()?;
    // What follows must be too much for the ring, however fast the agent reads.
    agent.signal(Signal::STOP)?;
    let bomb = child::sh(BOMB)?;
    agent.signal(Signal::CONT)?;
    ensure!(bomb.code == Some(0), "{bomb:?}");
    let mut agent = agent;
    let records = told(&mut agent)?;
    let forks: Vec<&Record> = records.iter().filter(|r| r.is("fork")).collect();
    let ids: BTreeSet<&str> = forks.iter().filter_map(|r| r.text("process.entity_id")).collect();
    ensure!(ids.len() == forks.len(), "{} ids of {} forks", ids.len(), forks.len());
    let (told, lost) = (i64::try_from(forks.len())?, lost(&records, "fork"));
    // Others of this host fork as well.
    ensure!(lost > 0 && told + lost >= BOMB_FORKS, "{told} told and {lost} lost of {BOMB_FORKS}");
    Ok(())
}

/// What is in no /proc any more when the agent comes to look is told from the kernel's records alone.
#[test]
fn processes_that_end_before_the_agent_looks_are_told_whole() -> Result<()> {
    if lacks(Part::Kernel, "processes_that_end_before_the_agent_looks_are_told_whole") {
        return Ok(());
    }
    let mut agent = Agent::start()?;
    let dir = tempfile::tempdir()?;
    let program = child::copy_of("/bin/true", dir.path(), "gone-already")?;
    agent.signal(Signal::STOP)?;
    let gone = (0..200).map(|n| child::run(&program, &[n.to_string()]).map(|ended| ended.pid));
    let gone = gone.collect::<Result<Vec<u32>>>()?;
    agent.signal(Signal::CONT)?;
    let records = told(&mut agent)?;
    ensure!(lost(&records, "exec") + lost(&records, "fork") + lost(&records, "exit") == 0, "a loss");
    let mut ids = BTreeSet::new();
    for (n, pid) in gone.into_iter().enumerate() {
        let [fork, exec, end] = ["fork", "exec", "end"].map(|action| about(&records, pid, action));
        let argument = n.to_string();
        let own = |r: &&Record| r.texts("process.args").get(1) == Some(&argument.as_str());
        let exec = exec.iter().find(own).with_context(|| format!("no exec of {n}"))?;
        assert_eq!(exec.text("process.executable"), program.to_str());
        assert_eq!(exec.text("process.user.id"), Some("0"));
        assert_eq!(exec.number("process.parent.pid"), Some(std::process::id().into()));
        assert_eq!(exec.text("process.working_directory"), std::env::current_dir()?.to_str());
        let id = exec.text("process.entity_id").context("no entity id")?;
        ensure!(ids.insert(id.to_owned()), "entity id {id} twice");
        let same = |r: &Record| r.text("process.entity_id") == Some(id);
        ensure!(fork.iter().any(same) && end.iter().any(same), "{n}: {fork:?} {end:?}");
    }
    Ok(())
}

/// So many times a pid is used again at once: mostly within one tick of 10 ms, which is all that /proc tells of a start.
const REUSED_PIDS: usize = 10;

/// Seconds of a time that is written as 2026-01-31T23:59:59.123456789Z.
fn in_minute(time: &str) -> Result<Duration> {
    let seconds = time.rsplit(':').next().and_then(|last| last.strip_suffix('Z')).context("no time")?;
    Ok(Duration::try_from_secs_f64(seconds.parse()?)?)
}

/// The next process gets this number, unless somebody else forks in between.
fn after(pid: u32, program: &OsStr) -> Result<Child> {
    fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string())?;
    Ok(Command::new(program).stdin(Stdio::null()).spawn()?)
}

#[test]
fn a_pid_that_is_used_again_is_another_process() -> Result<()> {
    if lacks(Part::Kernel, "a_pid_that_is_used_again_is_another_process") {
        return Ok(());
    }
    if !fs::exists("/proc/sys/kernel/ns_last_pid")? {
        println!("skipped a_pid_that_is_used_again_is_another_process: this kernel cannot choose a pid");
        return Ok(());
    }
    let mut agent = Agent::start()?;
    let dir = tempfile::tempdir()?;
    let first = child::copy_of("/bin/true", dir.path(), "first-user")?;
    let second = child::copy_of("/bin/true", dir.path(), "second-user")?;
    // The agent sees neither while it lives.
    agent.signal(Signal::STOP)?;
    let mut reused = BTreeSet::new();
    for _ in 0..100 {
        let pid = child::run::<&str>(&first, &[])?.pid;
        let mut next = after(pid, second.as_os_str())?;
        next.wait()?;
        if next.id() == pid && reused.insert(pid) && reused.len() == REUSED_PIDS {
            break;
        }
    }
    agent.signal(Signal::CONT)?;
    ensure!(reused.len() == REUSED_PIDS, "the pids were taken by others a hundred times");
    let records = told(&mut agent)?;
    let (mut ids, mut nearest) = (BTreeSet::new(), Duration::MAX);
    for pid in reused {
        let mut starts = Vec::new();
        for program in [&first, &second] {
            let of = |action: &str| {
                let all = about(&records, pid, action);
                let own: Vec<Record> =
                    all.into_iter().filter(|r| r.text("process.executable") == program.to_str()).collect();
                own.last().cloned().with_context(|| format!("no {action} of {}", program.display()))
            };
            let (exec, end) = (of("exec")?, of("end")?);
            let id = exec.text("process.entity_id").context("no entity id")?.to_owned();
            assert_eq!(end.text("process.entity_id"), Some(id.as_str()), "the end is of the same process");
            starts.push(in_minute(exec.text("process.start").context("no start")?)?);
            ensure!(ids.insert(id), "two processes of pid {pid} have one entity id");
        }
        // A pair over the turn of a minute says nothing.
        nearest = nearest.min(starts[1].checked_sub(starts[0]).unwrap_or(Duration::MAX));
    }
    ensure!(nearest < Duration::from_millis(10), "no pid was used again within a tick of /proc: {nearest:?}");
    Ok(())
}

#[test]
fn no_name_gets_into_the_log_or_the_feed_raw() -> Result<()> {
    if lacks(Part::Kernel, "no_name_gets_into_the_log_or_the_feed_raw") {
        return Ok(());
    }
    let setup = Setup::new()?.env("HOSTWARD_LOG", "trace").config("[telemetry]\nfiles = true\n")?;
    let mut agent = setup.start()?;
    let dir = tempfile::tempdir()?;
    for name in HOSTILE {
        let name = OsStr::from_bytes(name);
        let program = child::copy_of("/bin/cat", dir.path(), name)?;
        let ended = child::run(&program, &[program.as_os_str(), name])?;
        ensure!(ended.code == Some(1), "the second name is no file: {ended:?}");
        fs::remove_file(&program)?;
        fs::create_dir(dir.path().join(name))?;
        fs::remove_dir(dir.path().join(name))?;
    }
    let records = told(&mut agent)?;
    let below = dir.path().to_str().context("a path of UTF-8")?;
    let execs = records
        .iter()
        .filter(|r| r.is("exec") && r.text("process.executable").is_some_and(|path| path.starts_with(below)));
    assert_eq!(execs.count(), HOSTILE.len());
    let log = fs::read(agent.setup().dir().join("log"))?;
    let feed = fs::read(agent.state_dir().join("events.jsonl"))?;
    // The feed is for programs: JSON escapes what drives a terminal of 7 bits, and is UTF-8 otherwise.
    let feed = std::str::from_utf8(&feed).context("the feed is no UTF-8")?;
    let raw = feed.lines().find(|line| line.chars().any(|c| c.is_ascii_control()));
    ensure!(raw.is_none(), "the feed has {raw:?}");
    let text = std::str::from_utf8(&log).context("the log is no UTF-8")?;
    let drives = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
    let raw = text.lines().find(|line| line.chars().any(drives));
    ensure!(raw.is_none(), "the log has {raw:?}");
    ensure!(log.len() > 1000, "a log at its finest says something");
    Ok(())
}
