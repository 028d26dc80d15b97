//! Events of real containers carry their owner: name, image and labels, also when they live for a moment.

#[cfg(test)]
mod many;
#[cfg(test)]
mod pods;

use anyhow::{Context, Result, ensure};
use hostward_tests::{Agent, Engine, Kind, Part, Record, Setup, lacks, until};
use serde_json::Value;
use std::os::unix::net::UnixListener;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// An agent sees the containers of every engine, and these tests count them: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

const SOON: Duration = Duration::from_secs(60);
/// Containers that start and end, one after the other.
const SHORT_LIVED: usize = 15;
const RULES: &str = "
- rule: Name asked in a container
  desc: uname ran in a busybox
  condition: evt.type = execve and proc.name = uname and container.image.repository endswith bench/busybox
  output: uname in %container.name of %container.image.repository:%container.image.tag (%container.label[team])
  priority: WARNING
";

fn state(agent: &Agent) -> Result<Value> {
    serde_json::from_slice(&agent.status()?.stdout).context("the status")
}

fn sources(agent: &Agent) -> Result<Value> {
    let output = agent.ask(&["workloads", "--json"])?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn wait_for_source(agent: &Agent, wanted: &str) -> Result<Value> {
    until(&format!("the source to be {wanted}"), SOON, || {
        let found = socket(&sources(agent)?);
        Ok((found.get("state") == Some(&Value::from(wanted))).then_some(found))
    })
}

/// The source that has a socket; files of OCI runtimes are others.
fn socket(found: &Value) -> Value {
    let mut all = found.get("sources").and_then(Value::as_array).into_iter().flatten().cloned();
    all.find(|source| source.get("source") != Some(&Value::from("oci"))).unwrap_or_default()
}

/// What `hostward workloads` tells of a container, once it has this name.
fn row(agent: &Agent, name: &str) -> Result<Value> {
    until(&format!("the workload {name}"), SOON, || {
        let found = sources(agent)?;
        let mut rows = found.get("workloads").and_then(Value::as_array).into_iter().flatten().cloned();
        Ok(rows.find(|row| row.pointer("/container/name") == Some(&Value::from(name))))
    })
}

fn nameless(agent: &Agent) -> Result<Vec<Record>> {
    let lacks =
        |record: &Record| record.text("container.id").is_some() && record.text("container.name").is_none();
    Ok(agent.feed().records()?.into_iter().filter(lacks).collect())
}

fn of(name: &str) -> impl Fn(&Record) -> bool {
    move |record| record.text("container.name") == Some(name)
}

/// Fifteen containers that run `uname` and end: every one of their events is named when it is first sent.
fn short_lived(kind: Kind) -> Result<()> {
    let _alone = alone();
    let engine = Engine::start(kind)?;
    let agent = Setup::new()?.config(&engine.config())?.rules(RULES)?.start()?;
    wait_for_source(&agent, "ok")?;
    for n in 0..SHORT_LIVED {
        engine.run(&format!("short-{n}"), &["--rm", "--label", "team=a.b"], &["/bin/uname"])?;
    }
    let last = format!("short-{}", SHORT_LIVED - 1);
    let feed = agent.feed();
    feed.wait("the last container's end", |r| r.is("end") && of(&last)(r))?;
    for n in 0..SHORT_LIVED {
        let name = format!("short-{n}");
        let exec = feed.wait(&format!("the program in {name}"), |r| {
            r.is("exec") && of(&name)(r) && r.text("process.name") == Some("uname")
        })?;
        ensure!(
            exec.text("container.image.name").is_some_and(|image| image.ends_with("bench/busybox")),
            "{exec:?}"
        );
        ensure!(exec.texts("container.image.tag") == ["1"], "{exec:?}");
        ensure!(exec.text("container.labels.team") == Some("a.b"), "{exec:?}");
        let runtime = if kind == Kind::Docker { "docker" } else { "podman" };
        ensure!(exec.text("container.runtime") == Some(runtime), "{exec:?}");
        let alert = feed.wait("the alert", |r| r.is_alert_of("Name asked in a container") && of(&name)(r))?;
        let message = alert.text("message").unwrap_or_default();
        ensure!(
            message.starts_with(&format!("uname in {name} of ")) && message.ends_with(":1 (a.b)"),
            "{message}"
        );
    }
    let nameless = nameless(&agent)?;
    ensure!(nameless.is_empty(), "events without their container: {nameless:#?}");
    let state = state(&agent)?;
    let number = |name: &str| state.pointer(&format!("/context/{name}")).and_then(Value::as_u64);
    ensure!(number("partial") == Some(0) && number("complete") >= Some(3 * SHORT_LIVED as u64), "{state}");
    Ok(())
}

#[test]
fn a_container_of_docker_that_lives_for_a_moment_is_named() -> Result<()> {
    let name = "a_container_of_docker_that_lives_for_a_moment_is_named";
    if lacks(Part::Kernel, name) || lacks(Part::Docker, name) {
        return Ok(());
    }
    short_lived(Kind::Docker)
}

#[test]
fn a_container_of_podman_that_lives_for_a_moment_is_named() -> Result<()> {
    let name = "a_container_of_podman_that_lives_for_a_moment_is_named";
    if lacks(Part::Kernel, name) || lacks(Part::Podman, name) {
        return Ok(());
    }
    short_lived(Kind::Podman)
}

#[test]
fn a_daemon_that_is_killed_is_told_and_found_again() -> Result<()> {
    // Docker's own containerd lives on when the daemon is killed, and the next daemon does not start beside it.
    let name = "a_daemon_that_is_killed_is_told_and_found_again";
    if lacks(Part::Kernel, name) || lacks(Part::Podman, name) {
        return Ok(());
    }
    let _alone = alone();
    let mut engine = Engine::start(Kind::Podman)?;
    engine.run("before", &["-d"], &["/bin/sleep", "600"])?;
    let agent = Setup::new()?.config(&engine.config())?.start()?;
    let found = wait_for_source(&agent, "ok")?;
    ensure!(found.get("containers") == Some(&Value::from(1)), "{found}");
    let row = row(&agent, "before")?;
    let processes = row.get("processes").and_then(Value::as_u64);
    ensure!(
        row.pointer("/container/source") == Some(&Value::from("podman")) && processes >= Some(1),
        "{row}"
    );

    engine.kill()?;
    let found = wait_for_source(&agent, "degraded")?;
    ensure!(
        found.get("why").and_then(Value::as_str).is_some_and(|why| why.contains("is the daemon running")),
        "{found}"
    );
    until("health to tell it too", SOON, || {
        let told = state(&agent)?.get("stages").map(Value::to_string).unwrap_or_default();
        Ok(told.contains("is the daemon running").then_some(()))
    })?;
    engine.restart()?;
    wait_for_source(&agent, "ok")?;
    engine.run("after", &["--rm"], &["/bin/uname"])?;
    agent.feed().wait("the container of the new daemon", |r| r.is("exec") && of("after")(r))?;
    Ok(())
}

#[test]
fn users_in_a_container_have_the_names_of_its_own_files() -> Result<()> {
    let name = "users_in_a_container_have_the_names_of_its_own_files";
    if lacks(Part::Kernel, name) || lacks(Part::Docker, name) {
        return Ok(());
    }
    let _alone = alone();
    let engine = Engine::start(Kind::Docker)?;
    let dir = tempfile::tempdir()?;
    let file = |name: &str, text: &str| -> Result<String> {
        let path = dir.path().join(name);
        std::fs::write(&path, text)?;
        Ok(format!("{}:/etc/{name}:ro", path.display()))
    };
    let passwd = file("passwd", "root:x:0:0::/:/bin/sh\nkeeper:x:4711:4712::/:/bin/sh\n")?;
    let group = file("group", "root:x:0:\nkeepers:x:4712:\n")?;
    let agent = Setup::new()?.config(&engine.config())?.start()?;
    wait_for_source(&agent, "ok")?;
    let options = ["--rm", "-u", "4711:4712", "-v", &passwd, "-v", &group];
    engine.run("inside", &options, &["/bin/sleep", "2"])?;
    let exec = agent.feed().wait("the program of the user", |r| {
        r.is("exec") && of("inside")(r) && r.text("process.name") == Some("sleep")
    })?;
    ensure!(exec.text("user.id") == Some("4711") && exec.text("user.name") == Some("keeper"), "{exec:?}");
    ensure!(exec.text("process.group.name") == Some("keepers"), "{exec:?}");
    Ok(())
}

#[test]
fn a_socket_that_hangs_costs_a_line_in_health_and_nothing_else() -> Result<()> {
    if lacks(Part::Kernel, "a_socket_that_hangs_costs_a_line_in_health_and_nothing_else") {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("docker.sock");
    // Takes connections and never says a word.
    let _listener = UnixListener::bind(&path)?;
    let config = format!("[runtime]\nsockets = [\"{}\"]\ntimeout_ms = 300\n", path.display());
    let agent = Setup::new()?.config(&config)?.start()?;
    let found = wait_for_source(&agent, "degraded")?;
    ensure!(found["why"].as_str().is_some_and(|why| why.contains("no answer within 300 ms")), "{found}");
    let ended = hostward_tests::child::sh("true")?;
    let pid = i64::from(ended.pid);
    agent.feed().wait("an event of the host", |r| r.is("exec") && r.number("process.pid") == Some(pid))?;
    Ok(())
}
