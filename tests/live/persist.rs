//! Programs that outlive the agent: it is killed, and nothing is lost, told twice or let live.

use anyhow::{Context, Result, ensure};
use hostward_tests::{Agent, Part, Record, Setup, child, lacks, wait};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A BPF file system of this test alone.
struct Bpffs(TempDir);

impl Bpffs {
    fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("hw-bpffs-").tempdir()?;
        child::output(Command::new("mount").args(["-t", "bpf", "bpf"]).arg(dir.path()))?;
        Ok(Self(dir))
    }

    fn pins(&self) -> PathBuf {
        self.0.path().join("pins")
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

const RULE: &str = "- rule: Victim starts\n  desc: The test's victim.\n  condition: evt.type = execve and proc.name = \
                    hw-victim-away\n  output: victim %proc.pid\n  priority: Critical\n";
const RESPONSE: &str = "- response: stop the victim\n  rules: [\"Victim *\"]\n  mode: enforce\n  actions: [kill]\n  \
                        owner: team-test\n";

fn config(persist: bool, pins: &Path, responses: &Path) -> String {
    format!(
        "[sensor]\npersist = {persist}\npersist_dir = {:?}\n[responses]\nfiles = [{:?}]\n",
        pins.display().to_string(),
        responses.display().to_string()
    )
}

/// Events of one process by action, but alerts.
fn told(records: &[Record], pid: u32, action: &str) -> usize {
    records.iter().filter(|r| r.is(action) && r.number("process.pid") == Some(pid.into())).count()
}

/// By kind and CPU, the numbers of events.
type Numbers<'a> = BTreeMap<(&'a str, i64), Vec<i64>>;

const KINDS: [(&str, &str); 3] = [("exec", "exec"), ("fork", "fork"), ("end", "exit")];

fn numbers(records: &[Record]) -> Result<Numbers<'static>> {
    let mut all = Numbers::new();
    for record in records.iter().filter(|r| r.text("event.kind") != Some("alert")) {
        let kind = KINDS.iter().find(|(action, _)| record.is(action));
        if let (Some((_, kind)), Some(cpu)) = (kind, record.number("hostward.source.cpu")) {
            let number = record.number("hostward.source.sequence").context("a number")?;
            all.entry((kind, cpu)).or_default().push(number);
        }
    }
    all.values_mut().for_each(|numbers| numbers.sort_unstable());
    Ok(all)
}

fn none_is_told_twice(records: &[Record]) -> Result<()> {
    for (of, numbers) in numbers(records)? {
        let mut pairs = numbers.iter().zip(numbers.iter().skip(1));
        ensure!(pairs.all(|(n, next)| n < next), "{of:?}: {numbers:?}");
    }
    Ok(())
}

/// What is no event is in a gap.
fn none_is_left_out(records: &[Record]) -> Result<()> {
    let mut all = numbers(records)?;
    for record in records {
        let kind = KINDS.iter().find(|(_, kind)| record.text("hostward.gap.type") == Some(kind));
        if let Some((_, kind)) = kind {
            let field = |name: &str| record.number(&format!("hostward.gap.{name}")).context("a gap's field");
            all.entry((kind, field("cpu")?)).or_default().extend(field("first")?..=field("last")?);
        }
    }
    for (of, mut numbers) in all {
        numbers.sort_unstable();
        let mut pairs = numbers.iter().zip(numbers.iter().skip(1));
        ensure!(pairs.all(|(n, next)| next - n <= 1), "{of:?}: {numbers:?}");
    }
    Ok(())
}

#[test]
fn a_killed_agent_goes_on_killing_and_the_next_tells_what_happened() -> Result<()> {
    if lacks(Part::Kernel, "a_killed_agent_goes_on_killing_and_the_next_tells_what_happened")
        || lacks(Part::Mount, "a_killed_agent_goes_on_killing_and_the_next_tells_what_happened")
    {
        return Ok(());
    }
    let (bpffs, dir) = (Bpffs::new()?, tempfile::tempdir()?);
    let responses = dir.path().join("responses.yaml");
    std::fs::write(&responses, RESPONSE)?;
    let victim = child::copy_of("/bin/sh", dir.path(), "hw-victim-away")?;
    let mark = dir.path().join("mark");
    let attack = || child::run(&victim, &["-c", &format!("echo alive > {}", mark.display())]);
    let text = config(true, &bpffs.pins(), &responses);
    let agent = Setup::new()?.rules(RULE)?.config(&text)?.start()?;
    // The report is made each second.
    let says = |agent: &Agent, what: &str| {
        wait::until(what, Duration::from_secs(10), || {
            let status = String::from_utf8(agent.status()?.stdout)?;
            Ok(status.contains(what).then_some(()))
        })
    };
    says(&agent, "are pinned at")?;

    // It begins before, and ends while no agent runs.
    let mut over = Command::new("/bin/sleep").arg("100").stdin(Stdio::null()).spawn()?;
    let about =
        |r: &Record, pid: u32, action: &str| r.is(action) && r.number("process.pid") == Some(pid.into());
    let begun = agent.feed().wait("the sleep", |r| about(r, over.id(), "exec"))?;
    let mut stays = Command::new("/bin/sleep").arg("101").stdin(Stdio::null()).spawn()?;
    let stays_begun = agent.feed().wait("the other sleep", |r| about(r, stays.id(), "exec"))?;
    agent.signal(Signal::KILL)?;
    let mut agent = agent;
    agent.wait_end()?;

    let attacked = attack()?;
    ensure!(attacked.signal == Some(9) && !mark.exists(), "the victim ran: {attacked:?}");
    let alone: Vec<u32> =
        (0..20).map(|_| Ok(child::run("/bin/true", &["alone"])?.pid)).collect::<Result<_>>()?;
    over.kill()?;
    over.wait()?;

    let agent = agent.revive()?;
    let read = agent.feed().wait("what was kept", |r| r.is("backlog_read"))?;
    let message = read.text("message").context("a message")?.to_owned();
    ensure!(message.contains("without a stop"), "{message}");
    says(&agent, "while no agent ran were read")?;
    stays.kill()?;
    stays.wait()?;
    let stays_end = agent.feed().wait("its end", |r| about(r, stays.id(), "end"))?;
    let over_end = agent.feed().wait("the end in between", |r| about(r, over.id(), "end"))?;
    let alert = agent.feed().wait("the kill in between", |r| {
        r.is_alert_of("Victim starts") && r.number("process.pid") == Some(attacked.pid.into())
    })?;
    ensure!(alert.text("hostward.response.actor") == Some("kernel"), "{alert:?}");
    for (one, other) in [(&begun, &over_end), (&stays_begun, &stays_end)] {
        ensure!(one.text("process.entity_id") == other.text("process.entity_id"), "{one:?} {other:?}");
    }
    ensure!(stays_end.text("process.executable") == stays_begun.text("process.executable"), "{stays_end:?}");

    // A stop in order, and a start that has nothing to excuse.
    let mut agent = agent;
    ensure!(agent.stop()?.success(), "{}", agent.log());
    let attacked = attack()?;
    ensure!(attacked.signal == Some(9) && !mark.exists(), "the victim ran: {attacked:?}");
    let stopped = child::run("/bin/true", &["stopped"])?.pid;
    let agent = agent.revive()?;
    let again = agent
        .feed()
        .wait("what was kept again", |r| r.is("backlog_read") && r.text("message") != Some(&message))?;
    ensure!(
        again.text("message").is_some_and(|m| m.contains(", 0 were lost") && !m.contains("without")),
        "{again:?}"
    );
    ensure!(again.text("event.outcome") == Some("success"), "{again:?}");
    agent.feed().wait("the process of then", |r| about(r, stopped, "end"))?;

    // Switched off, nothing is left.
    agent.setup().write("hostward.toml", config(false, &bpffs.pins(), &responses))?;
    let mut agent = agent.restart()?;
    ensure!(!bpffs.pins().exists(), "pins are left");
    ensure!(agent.stop()?.success(), "{}", agent.log());
    ensure!(attack()?.signal.is_none() && mark.exists(), "the victim was killed by nobody");

    // After a kill the file's sink may write lines again, each as it was; told twice by a sensor they would differ.
    let (mut records, mut lines) = (agent.feed().records()?, BTreeSet::new());
    records.retain(|record| lines.insert(record.0.to_string()));
    for pid in alone.iter().chain([&stopped]) {
        for action in ["fork", "exec", "end"] {
            let times = told(&records, *pid, action);
            ensure!(times == 1, "process {pid}: {action} {times} times");
        }
    }
    // The last start counts anew, and what the first had in memory only is not to be had.
    let starts: Vec<usize> =
        records.iter().enumerate().filter(|(_, r)| r.is("agent_started")).map(|(at, _)| at).collect();
    let [_, second, _, last] = starts.as_slice() else { anyhow::bail!("{starts:?}") };
    none_is_told_twice(records.get(..*last).unwrap_or_default())?;
    none_is_left_out(records.get(*second..*last).unwrap_or_default())?;
    println!("{message}");
    Ok(())
}

const WATCH: &str = "- rule: Secret read\n  desc: The test's file.\n  condition: evt.type in (open, openat, openat2) and \
                     evt.is_open_read = true and fd.name contains /hw-secret-away/\n  output: read %fd.name\n  priority: \
                     Critical\n";

/// What a rule looks for besides starts of programs, while no agent runs.
#[test]
fn a_file_that_is_read_while_no_agent_runs_is_an_alert_of_the_next() -> Result<()> {
    let test = "a_file_that_is_read_while_no_agent_runs_is_an_alert_of_the_next";
    if lacks(Part::Kernel, test) || lacks(Part::Mount, test) {
        return Ok(());
    }
    let (bpffs, dir) = (Bpffs::new()?, tempfile::tempdir()?);
    let watched = dir.path().join("hw-secret-away");
    std::fs::create_dir(&watched)?;
    let secret = watched.join("secret");
    std::fs::write(&secret, "s")?;
    let read = || child::run("/bin/cat", &[&secret.display().to_string()]).map(|ran| ran.pid);
    let text = format!(
        "[sensor]\npersist = true\npersist_dir = {:?}\n[telemetry]\nconnect = true\n",
        bpffs.pins().display().to_string()
    );
    let mut agent = Setup::new()?.rules(WATCH)?.config(&text)?.start()?;
    let of =
        |r: &Record, pid: u32| r.is_alert_of("Secret read") && r.number("process.pid") == Some(pid.into());
    let before = read()?;
    agent.feed().wait("the alert before", |r| of(r, before))?;
    agent.signal(Signal::KILL)?;
    agent.wait_end()?;

    let meanwhile = [read()?, read()?, read()?];
    let server = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = server.local_addr()?.port();
    let to = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
    let connected = child::run("/bin/bash", &["-c", &to])?.pid;

    let agent = agent.revive()?;
    agent.feed().wait("what was kept", |r| r.is("backlog_read"))?;
    let after = read()?;
    agent.feed().wait("the alert after", |r| of(r, after))?;
    let mut agent = agent;
    ensure!(agent.stop()?.success(), "{}", agent.log());
    let stopped = read()?;
    let agent = agent.revive()?;
    let alert = agent.feed().wait("the alert of the stop", |r| of(r, stopped))?;
    let pins = std::fs::read_dir(bpffs.pins())?.count();
    ensure!(pins == 1, "{pins} sets of pins");
    ensure!(alert.text("process.name") == Some("cat"), "the open came without its process: {alert:?}");
    ensure!(alert.text("file.path") == secret.to_str(), "{alert:?}");

    let (mut records, mut lines) = (agent.feed().records()?, BTreeSet::new());
    // After a kill the file's sink may write lines again, each as it was; told twice by a sensor they would differ.
    records.retain(|record| lines.insert(record.0.to_string()));
    for pid in meanwhile.iter().chain([&before, &after, &stopped]) {
        let times = records.iter().filter(|r| of(r, *pid)).count();
        ensure!(times == 1, "process {pid}: {times} alerts");
    }
    // A shell may connect elsewhere too: without `SHELL` in its environment it asks nscd who it runs as.
    records.retain(|r| r.number("destination.port") == Some(port.into()));
    let times = told(&records, connected, "connection_attempted");
    ensure!(times == 1, "the connect was told {times} times");
    Ok(())
}
