//! Containers of pods, of `ctr run` and of runc itself carry their owner, also while their runtime is away.

use crate::{alone, nameless, of, row, state, wait_for_source};
use anyhow::{Context, Result, ensure};
use hostward_tests::{Agent, Containerd, Part, Record, Runc, Setup, lacks, until};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

/// Containers that start and end, one after the other.
const SHORT_LIVED: usize = 8;
/// Where containerd lets runc keep its states.
const STATES: &str = "/run/containerd/runc";

fn agent(socket: &Path, states: &[&Path]) -> Result<Agent> {
    let states: Vec<String> = states.iter().map(|path| format!("\"{}\"", path.display())).collect();
    let config = format!(
        "[runtime]\nsockets = [\"cri:{}\"]\nstate_dirs = [{}]\n",
        socket.display(),
        states.join(", ")
    );
    Setup::new()?.config(&config)?.start()
}

/// A program in a container that runs, without the daemon.
fn exec(id: &str, program: &str) -> Result<()> {
    let root = format!("{STATES}/k8s.io");
    let status =
        Command::new("runc").args(["--root", &root, "exec", id, program]).stdout(Stdio::null()).status()?;
    ensure!(status.success(), "runc exec {id} {program}");
    Ok(())
}

fn ensure_of_pod(record: &Record) -> Result<()> {
    let texts = [
        ("container.image.name", "docker.io/bench/busybox"),
        ("container.runtime", "containerd"),
        ("orchestrator.namespace", "prod"),
        ("orchestrator.resource.name", "web-1"),
    ];
    for (field, expected) in texts {
        ensure!(record.text(field) == Some(expected), "{field} of {record:?}");
    }
    ensure!(record.texts("container.image.tag") == ["1"], "{record:?}");
    Ok(())
}

#[test]
fn containers_of_a_pod_are_named_at_first_sending() -> Result<()> {
    let name = "containers_of_a_pod_are_named_at_first_sending";
    if lacks(Part::Kernel, name) || lacks(Part::Containerd, name) {
        return Ok(());
    }
    let _alone = alone();
    let containerd = Containerd::start()?;
    let agent = agent(&containerd.socket(), &[Path::new(STATES)])?;
    wait_for_source(&agent, "ok")?;
    let uid = format!("11fe0000-4b5b-4b5b-9d5c-{:012x}", std::process::id());
    let config = containerd.config("web-1", &uid);
    let sandbox = containerd.pod(&config)?;
    let app = containerd.container(&sandbox, &config, "app", &["/bin/sleep", "600"])?;
    for n in 0..SHORT_LIVED {
        containerd.container(&sandbox, &config, &format!("short-{n}"), &["/bin/uname"])?;
    }
    let feed = agent.feed();
    for (container, program) in
        (0..SHORT_LIVED).map(|n| (format!("short-{n}"), "uname")).chain([("app".to_owned(), "sleep")])
    {
        let exec = feed.wait(&format!("{program} in {container}"), |r| {
            r.is("exec") && of(&container)(r) && r.text("process.name") == Some(program)
        })?;
        ensure_of_pod(&exec)?;
        ensure!(exec.text("container.labels.tier") == Some("front"), "{exec:?}");
    }
    let last = format!("short-{}", SHORT_LIVED - 1);
    feed.wait("the last container's end", |r| r.is("end") && of(&last)(r))?;
    // A sandbox has no name of its own; its events have the pod's.
    let lacking: Vec<Record> =
        nameless(&agent)?.into_iter().filter(|r| r.text("orchestrator.resource.name").is_none()).collect();
    ensure!(lacking.is_empty(), "events without their pod: {lacking:#?}");
    let told = state(&agent)?;
    ensure!(told.pointer("/context/partial") == Some(&Value::from(0)), "{told}");

    // The runtime away, and an agent that never heard of it: the files of runc tell the pod.
    containerd.kill()?;
    wait_for_source(&agent, "degraded")?;
    exec(&app, "/bin/hostname")?;
    let known = feed.wait("a program of the container", |r| {
        r.is("exec") && of("app")(r) && r.text("process.name") == Some("hostname")
    })?;
    ensure_of_pod(&known)?;
    let agent = agent.restart()?;
    wait_for_source(&agent, "degraded")?;
    exec(&app, "/bin/date")?;
    let feed = agent.feed();
    let known = feed.wait("a program of the container told by files", |r| {
        r.is("exec") && of("app")(r) && r.text("process.name") == Some("date")
    })?;
    ensure_of_pod(&known)?;
    ensure!(row(&agent, "app")?["container"]["source"] == "oci", "{}", row(&agent, "app")?);

    containerd.up()?;
    wait_for_source(&agent, "ok")?;
    until("the runtime to be believed again", crate::SOON, || {
        Ok((row(&agent, "app")?["container"]["source"] == "cri").then_some(()))
    })?;
    exec(&app, "/bin/arch")?;
    let known = feed.wait("a program of the container after all", |r| {
        r.is("exec") && of("app")(r) && r.text("process.name") == Some("arch")
    })?;
    ensure!(known.text("container.labels.tier") == Some("front"), "{known:?}");
    containerd.remove(&sandbox)
}

#[test]
fn containers_of_ctr_and_of_runc_are_named() -> Result<()> {
    let name = "containers_of_ctr_and_of_runc_are_named";
    if lacks(Part::Kernel, name) || lacks(Part::Containerd, name) {
        return Ok(());
    }
    let _alone = alone();
    let containerd = Containerd::start()?;
    let runc = Runc::new("named")?;
    let agent = agent(&containerd.socket(), &[Path::new(STATES), &runc.state_dir()])?;
    wait_for_source(&agent, "ok")?;
    let feed = agent.feed();

    let sleep = ["/bin/busybox", "sleep", "600"];
    let bundle = runc.bundle("direct", &sleep, |spec| {
        spec["annotations"] = serde_json::json!({"org.example.team": "a"});
    })?;
    runc.create("direct", &bundle)?;
    // Known while its program waits to be started.
    let known = row(&agent, "direct")?;
    ensure!(known["container"]["source"] == "oci" && known["cgroup"] == runc.cgroup("direct"), "{known}");
    runc.call(&["start", "direct"])?;
    let exec = feed.wait("the program of runc's container", |r| {
        r.is("exec") && of("direct")(r) && r.text("process.name") == Some("busybox")
    })?;
    ensure!(exec.text("container.runtime") == Some("runc"), "{exec:?}");
    ensure!(exec.text("container.id") == Some("direct"), "{exec:?}");

    // Nobody waits for these to be told, so their first program may come before; their end does not.
    let ids: Vec<String> = (0..SHORT_LIVED).map(|n| format!("moment-{n}")).collect();
    for id in &ids {
        let bundle = runc.bundle(id, &["/bin/busybox", "sleep", "4"], |_| {})?;
        runc.call(&["run", "--detach", "--bundle", &bundle.display().to_string(), id])?;
    }
    for id in &ids {
        feed.wait(&format!("the end of {id}"), |r| r.is("end") && of(id)(r))?;
    }
    let first = |record: &&Record| record.is("exec") && ids.iter().any(|id| of(id)(record));
    println!("{} of {SHORT_LIVED} had their name at first", feed.records()?.iter().filter(first).count());

    let space = format!("hostward-{}", std::process::id());
    let id = format!("busy-{}", std::process::id());
    containerd.import(&space)?;
    containerd.ctr(&space, &["run", "-d", hostward_tests::containerd::IMAGE, &id, "/bin/sleep", "600"])?;
    let known = row(&agent, &id)?;
    ensure!(
        known["cgroup"] == format!("/{space}/{id}") && known["container"]["runtime"] == "containerd",
        "{known}"
    );
    containerd.ctr(&space, &["task", "exec", "--exec-id", "x", &id, "/bin/uname"])?;
    let exec = feed
        .wait("a program of ctr's container", |r| {
            r.is("exec") && of(&id)(r) && r.text("process.name") == Some("uname")
        })
        .context("ctr")?;
    ensure!(exec.text("container.runtime") == Some("containerd"), "{exec:?}");
    containerd.ctr(&space, &["task", "rm", "-f", &id])?;
    containerd.ctr(&space, &["container", "rm", &id])?;
    Ok(())
}
