//! A capture of this kernel, replayed: the same bytes.

use anyhow::{Context, Result, ensure};
use hostward_tests::{Part, Setup, binary, child, lacks};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn replay(capture: &Path, more: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary::hostward()?);
    Ok(command.arg("replay").arg(capture).args(more).stdin(Stdio::null()).output()?)
}

#[test]
fn a_replay_gives_the_feed_byte_for_byte() -> Result<()> {
    if lacks(Part::Kernel, "a_replay_gives_the_feed_byte_for_byte") {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let capture = dir.path().join("capture");
    let mut agent = Setup::new()?.arg("--capture").arg(&capture).start()?;
    for n in 0..20 {
        child::run("/bin/true", &[format!("--password=secret-number-{n}")])?;
    }
    // An alert belongs to it.
    let program =
        child::copy_of("/bin/true", Path::new("/tmp"), format!("hw-replay-{}", std::process::id()))?;
    let ended = child::run(&program, &[""; 0])?;
    std::fs::remove_file(&program)?;
    let pid = Some(i64::from(ended.pid));
    agent
        .feed()
        .wait("an alert", |r| r.text("event.kind") == Some("alert") && r.number("process.pid") == pid)?;
    ensure!(agent.stop()?.success(), "{}", agent.log());

    let fed = std::fs::read(agent.state_dir().join("events.jsonl"))?;
    let first = replay(&capture, &[])?;
    ensure!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    // The sink takes alerts first, so the lines are the same and may stand in another order.
    let lines = |bytes: &[u8]| {
        let mut lines: Vec<String> =
            bytes.split(|c| *c == b'\n').map(|line| String::from_utf8_lossy(line).into_owned()).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines(&fed), lines(&first.stdout), "the feed and its replay differ");
    let again = replay(&capture, &["--cost"])?;
    assert_eq!(again.stdout, first.stdout);
    let told = String::from_utf8(again.stderr)?;
    assert!(told.contains("kernel records; ns each, less ") && told.contains("context: p50 "), "{told}");
    Ok(())
}

#[test]
fn other_rules_can_be_tried_on_a_capture() -> Result<()> {
    if lacks(Part::Kernel, "other_rules_can_be_tried_on_a_capture") {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let capture = dir.path().join("capture");
    let mut agent = Setup::new()?.arg("--capture").arg(&capture).start()?;
    let ended = child::run("/bin/true", &["tried-later"])?;
    let pid = i64::from(ended.pid);
    agent.feed().wait("the end", |r| r.is("end") && r.number("process.pid") == Some(pid))?;
    ensure!(agent.stop()?.success(), "{}", agent.log());
    let rules = dir.path().join("rules.yaml");
    std::fs::write(
        &rules,
        "- rule: Tried\n  desc: d\n  condition: evt.type = execve and proc.args = tried-later\n  output: it was %proc.args\n  priority: Notice\n",
    )?;
    let output = replay(&capture, &["--rules", rules.to_str().context("UTF-8")?])?;
    let text = String::from_utf8(output.stdout)?;
    let alert = text.lines().find(|line| line.contains("\"kind\":\"alert\"")).context("an alert")?;
    assert!(alert.contains("it was tried-later") && alert.contains(&format!("\"pid\":{pid}")), "{alert}");

    // The linter tells how many events a second the rule would look at, and match, of them.
    let mut check = Command::new(binary::hostward()?);
    let told = child::output(check.args(["rules", "check"]).arg(&rules).arg("--capture").arg(&capture))?;
    let row = told.lines().find(|line| line.ends_with(" Tried")).with_context(|| told.clone())?;
    let rates: Vec<f64> = row.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    ensure!(rates.len() == 2 && rates.iter().all(|rate| *rate > 0.0), "{told}");
    Ok(())
}

#[test]
fn a_cut_or_foreign_capture_is_told() -> Result<()> {
    if lacks(Part::Kernel, "a_cut_or_foreign_capture_is_told") {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let capture = dir.path().join("capture");
    let mut agent = Setup::new()?.arg("--capture").arg(&capture).start()?;
    child::run("/bin/true", &["x"])?;
    ensure!(agent.stop()?.success(), "{}", agent.log());
    let bytes = std::fs::read(&capture)?;
    let cut = dir.path().join("cut");
    std::fs::write(&cut, bytes.get(..bytes.len() * 3 / 4).context("a capture")?)?;
    let output = replay(&cut, &[])?;
    assert_eq!(output.status.code(), Some(65));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("cut after input"), "{told}");

    let output = replay(Path::new("/etc/passwd"), &[])?;
    assert_eq!(output.status.code(), Some(65));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/etc/passwd: this is no hostward capture"));
    Ok(())
}
