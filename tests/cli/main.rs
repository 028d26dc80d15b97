//! What scripts rely on: verbs, exit codes, messages.

use anyhow::{Context, Result};
use hostward_tests::{Agent, Part, Setup, binary, child, lacks};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

fn hostward(args: &[&str]) -> Result<Output> {
    Ok(Command::new(binary::hostward()?).args(args).stdin(Stdio::null()).output()?)
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_wrong_command_line_is_64_and_help_is_0() -> Result<()> {
    assert_eq!(code(&hostward(&["runn"])?), Some(64));
    assert_eq!(code(&hostward(&["run", "--colour"])?), Some(64));
    assert_eq!(code(&hostward(&["events", "--where", "proc.nmae = x"])?), Some(64));
    let help = hostward(&["--help"])?;
    assert_eq!(code(&help), Some(0));
    assert!(stdout(&help).contains("64 usage"), "exit codes stand in --help");
    assert_eq!(code(&hostward(&["--version"])?), Some(0));
    Ok(())
}

#[test]
fn without_an_agent_status_is_3() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let output = hostward(&["status", "--runtime-dir", dir.path().to_str().context("UTF-8")?])?;
    assert_eq!(code(&output), Some(3));
    assert!(stderr(&output).contains("hint: start it with"), "{}", stderr(&output));
    Ok(())
}

#[test]
fn status_tells_six_stages_and_the_law() -> Result<()> {
    if lacks(Part::Kernel, "status_tells_six_stages_and_the_law") {
        return Ok(());
    }
    let agent = Agent::start()?;
    let output = agent.ask(&["status"])?;
    assert_eq!(code(&output), Some(0), "{}{}", stdout(&output), agent.log());
    for stage in ["load sensor", "observe event", "add context", "match policy", "respond", "deliver"] {
        assert!(stdout(&output).contains(&format!("  {stage:<14} ok")), "{}", stdout(&output));
    }
    let json: serde_json::Value = serde_json::from_slice(&agent.status()?.stdout)?;
    let counts = |name: &str| json.pointer(&format!("/counts/{name}")).and_then(serde_json::Value::as_u64);
    assert_eq!(counts("received"), Some(counts("emitted").unwrap_or(0) + counts("filtered").unwrap_or(0)));
    assert!(counts("received") > Some(0));
    let sink = json.pointer("/sinks/0").context("a sink")?;
    let n = |name: &str| sink.get(name).and_then(serde_json::Value::as_u64).unwrap_or_default();
    assert_eq!(n("accepted"), n("delivered") + n("queued") + n("in_flight"), "{sink}");
    Ok(())
}

#[test]
fn a_second_agent_is_told_who_holds_the_state() -> Result<()> {
    if lacks(Part::Kernel, "a_second_agent_is_told_who_holds_the_state") {
        return Ok(());
    }
    let agent = Agent::start()?;
    let state = agent.state_dir();
    let run = agent.runtime_dir();
    let output = hostward(&[
        "run",
        "--state-dir",
        state.to_str().context("UTF-8")?,
        "--runtime-dir",
        run.to_str().context("UTF-8")?,
    ])?;
    assert_eq!(code(&output), Some(75));
    assert!(stderr(&output).contains(&format!("process {} holds it", agent.pid())), "{}", stderr(&output));
    assert_eq!(agent.status()?.status.code(), Some(0), "the first one goes on");
    Ok(())
}

#[test]
fn without_privilege_the_agent_says_what_it_needs() -> Result<()> {
    if lacks(Part::Kernel, "without_privilege_the_agent_says_what_it_needs") {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    std::os::unix::fs::chown(dir.path(), Some(65534), Some(65534))?;
    // The test's own directory may be out of reach for nobody: run a copy.
    let ours = hostward_tests::binary::hostward()?;
    let binary = child::copy_of(ours.to_str().context("UTF-8")?, dir.path(), "hostward")?;
    let output = Command::new(&binary)
        .arg("run")
        .args(["--state-dir", dir.path().join("s").to_str().context("UTF-8")?])
        .args(["--runtime-dir", dir.path().join("r").to_str().context("UTF-8")?])
        .uid(65534)
        .gid(65534)
        .stdin(Stdio::null())
        .output()?;
    assert_eq!(code(&output), Some(77), "{}", stderr(&output));
    assert!(stderr(&output).contains("CAP_BPF") && stderr(&output).contains("hint:"), "{}", stderr(&output));
    Ok(())
}

#[test]
fn a_closed_pipe_ends_a_listing_quietly() -> Result<()> {
    let script = "\"$0\" fields | head -n 1; echo \"${PIPESTATUS[0]}\"";
    let output = Command::new("bash").args(["-c", script]).arg(binary::hostward()?).output()?;
    assert_eq!(stderr(&output), "");
    assert!(stdout(&output).ends_with("\n0\n"), "{}", stdout(&output));
    Ok(())
}

#[test]
fn events_are_filtered_by_conditions() -> Result<()> {
    if lacks(Part::Kernel, "events_are_filtered_by_conditions") {
        return Ok(());
    }
    let agent = Agent::start()?;
    let ended = hostward_tests::child::run("/bin/true", &["events-test"])?;
    let pid = i64::from(ended.pid);
    agent.feed().wait("the exec", |r| r.is("exec") && r.number("process.pid") == Some(pid))?;
    let condition = format!("evt.type = execve and proc.pid = {pid}");
    let output =
        agent.ask(&["events", "--since", "1m", "--no-follow", "-o", "json", "--where", &condition])?;
    assert_eq!(code(&output), Some(0));
    let lines: Vec<serde_json::Value> =
        stdout(&output).lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(lines.len(), 1, "{}", stdout(&output));
    assert_eq!(lines.first().and_then(|l| l.pointer("/process/pid")).and_then(|p| p.as_i64()), Some(pid));
    Ok(())
}

#[test]
fn doctor_names_what_this_host_offers() -> Result<()> {
    if lacks(Part::Kernel, "doctor_names_what_this_host_offers") {
        return Ok(());
    }
    let output = hostward(&["doctor"])?;
    let text = stdout(&output);
    assert!(matches!(code(&output), Some(0 | 1)), "{text}{}", stderr(&output));
    for word in ["kernel", "btf", "cgroup", "exec", "fork", "exit", "open", "connect", "attached"] {
        assert!(text.contains(word), "{word} is missing:\n{text}");
    }
    let json: serde_json::Value = serde_json::from_slice(&hostward(&["doctor", "--json"])?.stdout)?;
    assert!(json.get("checks").is_some() && json.get("ladder").is_some(), "{json}");

    // What is tried is what the configuration wants.
    let dir = tempfile::tempdir()?;
    let of_signals = |telemetry: &str| -> Result<String> {
        let config = dir.path().join("hostward.toml");
        std::fs::write(&config, telemetry)?;
        let config = config.to_str().context("a path in UTF-8")?;
        let text = stdout(&hostward(&["doctor", "--config", config])?);
        assert!(text.contains("cost of btf_tracepoint: nothing"), "{text}");
        Ok(text)
    };
    let hooked =
        |text: &str| text.lines().any(|line| line.contains("signal_generate") && line.contains("attached"));
    assert!(hooked(&of_signals("[telemetry]\nsignals = true\n")?), "asked for");
    assert!(!hooked(&of_signals("")?), "not asked for");
    let text = of_signals("[telemetry]\nsignal = true\n")?;
    assert!(
        text.contains("note: tried with the embedded configuration") && text.contains("signal"),
        "{text}"
    );
    Ok(())
}

#[test]
fn sigterm_drains_and_says_goodbye() -> Result<()> {
    if lacks(Part::Kernel, "sigterm_drains_and_says_goodbye") {
        return Ok(());
    }
    let mut agent = Setup::new()?.start()?;
    let ended = hostward_tests::child::run("/bin/true", &["just-before-the-end"])?;
    let status = agent.stop()?;
    assert_eq!(status.code(), Some(0), "{}", agent.log());
    let records = agent.feed().records()?;
    let pid = Some(i64::from(ended.pid));
    assert!(
        records.iter().any(|r| r.is("exec") && r.number("process.pid") == pid),
        "the last exec was drained"
    );
    let stopped = records.iter().find(|r| r.is("agent_stopped")).context("the last word")?;
    assert!(
        stopped.number("event.sequence") == records.iter().filter_map(|r| r.number("event.sequence")).max()
    );
    assert!(!agent.runtime_dir().join("hostward.sock").exists(), "the socket is gone");
    Ok(())
}

#[test]
fn the_reference_page_of_fields_is_current() -> Result<()> {
    let page = hostward_tests::place::checkout().join("docs/fields.md");
    let now = stdout(&hostward(&["fields", "--markdown"])?);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&page, &now)?;
    }
    let written = std::fs::read_to_string(&page)?;
    assert!(written == now, "docs/fields.md is old: UPDATE_GOLDEN=1 cargo test -p hostward-tests --test cli");
    Ok(())
}
