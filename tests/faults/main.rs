//! What goes wrong around the agent: a full disk, a kill -9.

use anyhow::{Context, Result, ensure};
use hostward_tests::{Agent, Part, Setup, child, lacks, wait};
use rustix::process::Signal;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A small file system that is unmounted when dropped.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn of(kib: u32) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let size = format!("size={kib}k");
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).status()?;
        ensure!(status.success(), "mount ended with {status}");
        Ok(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_loses_nothing_that_fits_the_queue() -> Result<()> {
    let name = "a_full_disk_loses_nothing_that_fits_the_queue";
    if lacks(Part::Kernel, name) || lacks(Part::Mount, name) {
        return Ok(());
    }
    let disk = Tmpfs::of(4096)?;
    let path = disk.path().join("events.jsonl");
    let config = format!(
        "[[sink]]\ntype = \"file\"\nname = \"small\"\npath = {:?}\n\
         filter = \"evt.type = execve and proc.args startswith full-\"\n",
        path.display().to_string()
    );
    let mut agent = Setup::new()?.config(&config)?.start()?;
    // What fills the disk is somebody else's file; the agent's own is small.
    let filler = disk.path().join("filler");
    let _ = Command::new("dd")
        .args(["if=/dev/zero", "bs=4k"])
        .arg(format!("of={}", filler.display()))
        .output()?;
    for n in 0..200 {
        child::run("/bin/true", &[format!("full-{n}")])?;
    }
    let status = wait::until("a degraded sink", Duration::from_secs(10), || {
        let status = agent.status()?;
        Ok((status.status.code() != Some(0)).then_some(status))
    })?;
    let report: serde_json::Value = serde_json::from_slice(&status.stdout)?;
    let told = report.pointer("/sinks/0/last_error").and_then(|e| e.as_str()).context("an error")?;
    assert!(told.to_lowercase().contains("space"), "{told}");

    std::fs::remove_file(&filler)?;
    wait::until("a sink that is well again", Duration::from_secs(20), || {
        let report: serde_json::Value = serde_json::from_slice(&agent.status()?.stdout)?;
        let queued = report.pointer("/sinks/0/queued").and_then(|n| n.as_u64());
        Ok((queued == Some(0)).then_some(()))
    })?;
    ensure!(agent.stop()?.success(), "{}", agent.log());
    let text = std::fs::read_to_string(&path)?;
    for line in text.lines() {
        serde_json::from_str::<serde_json::Value>(line).with_context(|| format!("a torn line: {line}"))?;
    }
    for n in 0..200 {
        ensure!(text.contains(&format!("\"full-{n}\"")), "exec {n} is missing");
    }
    Ok(())
}

#[test]
fn after_kill_9_the_feed_is_whole_lines_and_goes_on() -> Result<()> {
    if lacks(Part::Kernel, "after_kill_9_the_feed_is_whole_lines_and_goes_on") {
        return Ok(());
    }
    let agent = Agent::start()?;
    for _ in 0..50 {
        child::run("/bin/true", &["before"])?;
    }
    agent.feed().wait("the first exec", |r| r.texts("process.args").contains(&"before"))?;
    agent.signal(Signal::KILL)?;
    let agent = agent.revive()?;
    child::run("/bin/true", &["after"])?;
    agent.feed().wait("an exec after the restart", |r| r.texts("process.args").contains(&"after"))?;
    // Reading fails on a line that is no JSON.
    let records = agent.feed().records()?;
    assert!(records.iter().any(|r| r.texts("process.args").contains(&"before")));
    Ok(())
}
