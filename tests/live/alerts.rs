//! Shipped rules and responses against real attacks.

use anyhow::{Result, ensure};
use hostward_tests::{Part, Setup, child, lacks, wait};
use rustix::process::Signal;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn a_reverse_shell_is_an_alert_with_evidence() -> Result<()> {
    if lacks(Part::Kernel, "a_reverse_shell_is_an_alert_with_evidence") {
        return Ok(());
    }
    let agent = Setup::new()?.start()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let stream = TcpStream::connect(listener.local_addr()?)?;
    let socket = || -> Result<Stdio> { Ok(Stdio::from(OwnedFd::from(stream.try_clone()?))) };
    let mut shell =
        Command::new("/bin/sh").args(["-c", "exit 0"]).stdin(socket()?).stdout(socket()?).spawn()?;
    let pid = Some(i64::from(shell.id()));
    shell.wait()?;
    let alert = agent.feed().wait("the alert", |r| {
        r.text("event.kind") == Some("alert")
            && r.number("process.pid") == pid
            && r.texts("threat.technique.id").contains(&"T1059")
    })?;
    assert!(alert.texts("event.category").contains(&"intrusion_detection"));
    assert_eq!(alert.text("hostward.response.outcome"), Some("alerted"));
    assert_eq!(alert.text("hostward.response.mode"), Some("monitor"));
    assert!(alert.text("rule.ruleset").is_some_and(|place| place.contains(".yaml:")), "{alert:?}");
    let stages = ["observed", "decoded", "matched", "responded"];
    let times: Vec<_> = stages.iter().map(|stage| alert.text(&format!("hostward.stage.{stage}"))).collect();
    ensure!(times.iter().all(Option::is_some) && times.is_sorted(), "{times:?}");
    Ok(())
}

/// A rule on a program of this name. Each test has its own: an agent that enforces kills on the whole host.
fn victim_rule(name: &str) -> String {
    format!(
        "- rule: Victim starts\n  desc: The test's victim.\n  condition: evt.type = execve and proc.name = {name}\n  \
         output: victim %proc.pid\n  priority: Critical\n  tags: [T1204.002]\n"
    )
}

fn responding(name: &str, mode: &str, when: &str) -> Result<(hostward_tests::Agent, tempfile::TempDir)> {
    let dir = tempfile::tempdir()?;
    let responses = dir.path().join("responses.yaml");
    std::fs::write(
        &responses,
        format!(
            "- response: stop the victim\n  rules: [\"Victim *\"]\n{when}  mode: {mode}\n  actions: [kill]\n  owner: team-test\n"
        ),
    )?;
    let agent = Setup::new()?
        .rules(&victim_rule(name))?
        .config(&format!("[responses]\nfiles = [{:?}]\n", responses.display().to_string()))?
        .start()?;
    Ok((agent, dir))
}

/// Starts a program that leaves a mark when it lives long enough to run.
fn victim(name: &str, dir: &std::path::Path, mark: &std::path::Path) -> Result<child::Ended> {
    let program = child::copy_of("/bin/sh", dir, name)?;
    child::run(&program, &["-c", &format!("echo alive > {}; sleep 3", mark.display())])
}

#[test]
fn enforce_kills_in_the_kernel_before_the_program_runs() -> Result<()> {
    if lacks(Part::Kernel, "enforce_kills_in_the_kernel_before_the_program_runs") {
        return Ok(());
    }
    let (agent, dir) = responding("hw-victim-k", "enforce", "")?;
    let mark = dir.path().join("mark");
    let ended = victim("hw-victim-k", dir.path(), &mark)?;
    assert_eq!(ended.signal, Some(9));
    assert!(!mark.exists(), "the victim ran");
    let pid = Some(i64::from(ended.pid));
    let alert = agent
        .feed()
        .wait("the evidence", |r| r.is_alert_of("Victim starts") && r.number("process.pid") == pid)?;
    assert_eq!(alert.text("hostward.response.outcome"), Some("killed"));
    assert_eq!(alert.text("hostward.response.actor"), Some("kernel"));
    assert_eq!(alert.text("hostward.response.mode"), Some("enforce"));
    assert_eq!(alert.text("hostward.response.owner"), Some("team-test"));
    Ok(())
}

#[test]
fn enforce_kills_by_pidfd_when_the_kernel_cannot_decide() -> Result<()> {
    if lacks(Part::Kernel, "enforce_kills_by_pidfd_when_the_kernel_cannot_decide") {
        return Ok(());
    }
    let (agent, dir) = responding("hw-victim-p", "enforce", "  when: container.id = host\n")?;
    let ended = victim("hw-victim-p", dir.path(), &dir.path().join("mark"))?;
    assert_eq!(ended.signal, Some(9));
    let pid = Some(i64::from(ended.pid));
    let alert = agent
        .feed()
        .wait("the evidence", |r| r.is_alert_of("Victim starts") && r.number("process.pid") == pid)?;
    assert_eq!(alert.text("hostward.response.outcome"), Some("killed"));
    assert_eq!(alert.text("hostward.response.actor"), Some("agent"));
    Ok(())
}

#[test]
fn monitor_only_says_what_it_would_have_done() -> Result<()> {
    if lacks(Part::Kernel, "monitor_only_says_what_it_would_have_done") {
        return Ok(());
    }
    let (agent, dir) = responding("hw-victim-m", "monitor", "")?;
    let mark = dir.path().join("mark");
    let ended = victim("hw-victim-m", dir.path(), &mark)?;
    assert_eq!((ended.code, ended.signal), (Some(0), None));
    assert!(mark.exists());
    let pid = Some(i64::from(ended.pid));
    let alert = agent
        .feed()
        .wait("the evidence", |r| r.is_alert_of("Victim starts") && r.number("process.pid") == pid)?;
    assert_eq!(alert.text("hostward.response.outcome"), Some("would_have"));
    assert_eq!(alert.text("hostward.response.action"), Some("kill"));
    Ok(())
}

#[test]
fn new_rules_come_into_force_without_a_restart() -> Result<()> {
    if lacks(Part::Kernel, "new_rules_come_into_force_without_a_restart") {
        return Ok(());
    }
    let agent = Setup::new()?.rules(&victim_rule("hw-victim"))?.start()?;
    let dir = tempfile::tempdir()?;
    let program = child::copy_of("/bin/true", dir.path(), "hw-other")?;
    agent.setup().write("rules.yaml", victim_rule("hw-other"))?;
    agent.signal(Signal::HUP)?;
    agent.feed().wait("the reload", |r| r.is("rules_reloaded"))?;
    let pid = Some(i64::from(child::run(&program, &[""; 0])?.pid));
    agent.feed().wait("an alert of the new rule", |r| {
        r.is_alert_of("Victim starts") && r.number("process.pid") == pid
    })?;

    // A file that does not parse changes nothing, and says so.
    agent.setup().write("rules.yaml", "- rule: [broken\n")?;
    agent.signal(Signal::HUP)?;
    let refused = agent.feed().wait("the refusal", |r| r.is("rules_refused"))?;
    assert!(refused.text("message").is_some_and(|why| why.contains("rules.yaml:")), "{refused:?}");
    wait::until("a degraded status", Duration::from_secs(5), || {
        Ok((agent.status()?.status.code() == Some(1)).then_some(()))
    })?;
    let pid = Some(i64::from(child::run(&program, &[""; 0])?.pid));
    agent.feed().wait("an alert of the rules that stay", |r| {
        r.is_alert_of("Victim starts") && r.number("process.pid") == pid
    })?;
    Ok(())
}

#[test]
fn secrets_in_arguments_are_masked_everywhere() -> Result<()> {
    if lacks(Part::Kernel, "secrets_in_arguments_are_masked_everywhere") {
        return Ok(());
    }
    let agent =
        Setup::new()?.rules(&victim_rule("hw-masked").replace("%proc.pid", "%proc.cmdline"))?.start()?;
    let dir = tempfile::tempdir()?;
    let program = child::copy_of("/bin/true", dir.path(), "hw-masked")?;
    let ended = child::run(&program, &["--password", "correct-horse-battery", "--user", "bob"])?;
    let pid = Some(i64::from(ended.pid));
    let alert = agent
        .feed()
        .wait("the alert", |r| r.is_alert_of("Victim starts") && r.number("process.pid") == pid)?;
    let whole = std::fs::read_to_string(agent.state_dir().join("events.jsonl"))?;
    let exec = agent.feed().wait("the exec", |r| r.is("exec") && r.number("process.pid") == pid)?;
    let args = exec.texts("process.args");
    assert!(args.iter().any(|arg| arg.starts_with("<masked:")), "{args:?}");
    assert!(!whole.contains("correct-horse-battery"), "{alert:?}");
    assert!(alert.text("process.command_line").is_some_and(|line| line.contains("--user bob")));
    Ok(())
}
