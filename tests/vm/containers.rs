//! Whose process is it? Pods of a real containerd, a unit and a session, on each way of cgroups that systemd 252 has.

use crate::Machine;
use anyhow::{Context, Result, ensure};
use hostward_tests::guest::Ran;
use hostward_tests::{Feed, Part, Record, images, lacks};
use serde_json::Value;

const UID: &str = "f4bcdb5f-4b5b-4b5b-9d5c-0123456789ab";

/// Debian's default.
#[test]
fn pods_units_and_sessions_are_named_on_cgroup_v2() -> Result<()> {
    named("pods_units_and_sessions_are_named_on_cgroup_v2", "v2", "")
}

/// v1 controllers, and the unified hierarchy beside them without any.
#[test]
fn pods_units_and_sessions_are_named_on_hybrid_cgroups() -> Result<()> {
    named(
        "pods_units_and_sessions_are_named_on_hybrid_cgroups",
        "hybrid",
        "systemd.unified_cgroup_hierarchy=0",
    )
}

/// v1 alone: what the kernel calls the current cgroup's id is that of the root, for everybody.
#[test]
fn pods_units_and_sessions_are_named_on_cgroup_v1() -> Result<()> {
    let words = "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1";
    named("pods_units_and_sessions_are_named_on_cgroup_v1", "v1", words)
}

fn named(test: &str, mode: &str, kernel_words: &str) -> Result<()> {
    if lacks(Part::Vm, test) || lacks(Part::Images, test) {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    images(dir.path())?;
    let [busybox, pause] = ["busybox.tar", "pause.tar"].map(|name| dir.path().join(name));
    let ran = Machine::new()?.kernel_words(kernel_words).run("containers.sh", &[&busybox, &pause])?;
    ensure!(
        ran.log().lines().any(|line| line == format!("cgroups: {mode}")),
        "other cgroups:\n{}",
        ran.log()
    );
    let feed = Feed::new(&ran.path()).records()?;
    containers_are_named(&ran, &feed)?;
    cgroups_are_told(&ran, &feed)?;
    host_processes_are_named(&feed)?;
    workloads_are_listed(&ran)
}

/// Every event of the containers has its owner when it is first sent; of a sandbox when it is known.
fn containers_are_named(ran: &Ran, feed: &[Record]) -> Result<()> {
    let [sandbox, stays] = [ran.file("sandbox")?, ran.file("stays")?];
    let of = |id: &str| feed.iter().filter(|record| record.text("container.id") == Some(id.trim())).collect();
    let (of_sandbox, of_stays): (Vec<&Record>, Vec<&Record>) = (of(&sandbox), of(&stays));
    let of_short: Vec<&Record> =
        feed.iter().filter(|record| record.text("container.name") == Some("short")).collect();
    let ran_program = |records: &[&Record], path: &str| {
        records.iter().any(|record| record.is("exec") && record.text("process.executable") == Some(path))
    };
    ensure!(ran_program(&of_sandbox, "/pause"), "the sandbox's program was not seen: {of_sandbox:#?}");
    ensure!(ran_program(&of_stays, "/bin/busybox"), "the container's program was not seen: {of_stays:#?}");
    ensure!(ran_program(&of_short, "/bin/busybox"), "the program that was gone at once was not seen");

    // Also what runc did in them before: nothing that is of a container goes without its name.
    let all: Vec<_> = feed.iter().filter(|record| record.field("container").is_some()).collect();
    let ours = of_sandbox.len() + of_stays.len() + of_short.len();
    ensure!(all.len() == ours, "{} events of containers, of ours {ours}: {all:#?}", all.len());
    // A sandbox is in CRI's list when all of its creation has ended. Emulated, that may take longer than anybody
    // asks for it; then its events say what they lack, and an update follows.
    let is_partial = |record: &Record| record.field("hostward.enrichment.partial").is_some();
    let late = of_sandbox.iter().filter(|record| is_partial(record)).count();
    let update = of_sandbox.iter().any(|record| record.is("update") && in_pod(record).is_ok());
    ensure!(late == 0 || update, "no update follows: {of_sandbox:#?}");
    for record in of_sandbox.into_iter().filter(|record| !is_partial(record)) {
        in_pod(record).with_context(|| format!("{record:#?}"))?;
    }
    for record in of_stays.into_iter().chain(of_short) {
        in_pod(record).and_then(|()| in_container(record)).with_context(|| format!("{record:#?}"))?;
    }
    let status: Value = serde_json::from_str(&ran.file("status.json")?)?;
    let count = |name: &str| status["context"][name].as_u64();
    let told = count("partial") == Some(u64::try_from(late)?) && count("complete") > Some(0);
    ensure!(told, "{late} events were partial, and the status has {}", status["context"]);
    Ok(())
}

/// The making of the container's own directory, once, whichever hierarchies there are.
fn cgroups_are_told(ran: &Ran, feed: &[Record]) -> Result<()> {
    let scope = format!("/cri-containerd-{}.scope", ran.file("stays")?.trim());
    let of = |record: &&Record| {
        let path = record.text("hostward.cgroup.changed.path");
        record.is("cgroup_created") && path.is_some_and(|path| path.ends_with(&scope))
    };
    let count = feed.iter().filter(of).count();
    ensure!(count == 1, "{count} events of the making of {scope}");
    Ok(())
}

fn in_pod(record: &Record) -> Result<()> {
    for (field, wanted) in [
        ("container.runtime", "containerd"),
        ("orchestrator.type", "kubernetes"),
        ("orchestrator.namespace", "prod"),
        ("orchestrator.resource.type", "pod"),
        ("orchestrator.resource.name", "web-1"),
        ("orchestrator.resource.id", UID),
    ] {
        ensure!(record.text(field) == Some(wanted), "{field} is not {wanted:?}");
    }
    ensure!(record.texts("orchestrator.resource.label") == ["app:web"], "the pod's labels");
    ensure!(
        record.texts("orchestrator.resource.annotation") == ["hostward.io/owner:team-a"],
        "the pod's annotations"
    );
    ensure!(record.text("container.id").is_some_and(|id| id.len() == 64), "the id is not whole");
    ensure!(record.field("hostward.enrichment.partial").is_none(), "sent before it was whole");
    Ok(())
}

fn in_container(record: &Record) -> Result<()> {
    ensure!(record.text("container.image.name") == Some("docker.io/bench/busybox"), "the image");
    ensure!(record.texts("container.image.tag") == ["1"], "the image's tag");
    ensure!(record.text("container.labels.tier") == Some("front"), "the container's labels");
    let path = record.text("hostward.cgroup.path").unwrap_or_default();
    let scope = format!("cri-containerd-{}.scope", record.text("container.id").unwrap_or_default());
    ensure!(path.starts_with("/kubepods.slice/") && path.ends_with(&scope), "the cgroup's path");
    Ok(())
}

/// Unit, session and slice of what runs on the host itself, and no container.
fn host_processes_are_named(feed: &[Record]) -> Result<()> {
    let exec = |path: &str| {
        let found = feed.iter().find(|r| r.is("exec") && r.text("process.executable") == Some(path));
        found.with_context(|| format!("{path} was not seen"))
    };
    let in_unit = exec("/usr/local/bin/in-unit")?;
    ensure!(in_unit.text("hostward.systemd.unit") == Some("probe.service"), "{in_unit:#?}");
    ensure!(in_unit.text("hostward.systemd.slice") == Some("system.slice"), "{in_unit:#?}");
    let in_session = exec("/usr/local/bin/in-session")?;
    let unit = in_session.text("hostward.systemd.unit").unwrap_or_default();
    ensure!(unit.starts_with("session-") && unit.ends_with(".scope"), "{in_session:#?}");
    ensure!(in_session.text("hostward.systemd.slice") == Some("user-1000.slice"), "{in_session:#?}");
    ensure!(in_session.text("user.name") == Some("alice"), "{in_session:#?}");
    for record in [in_unit, in_session] {
        ensure!(record.field("container").is_none(), "{record:#?}");
    }
    Ok(())
}

/// `hostward workloads` lists pod and container, and who told of them.
fn workloads_are_listed(ran: &Ran) -> Result<()> {
    let listed: Value = serde_json::from_str(&ran.file("workloads.json")?)?;
    let row = |id: &str| {
        let mut rows = listed["workloads"].as_array().into_iter().flatten();
        rows.find(|row| row["container"]["id"] == id.trim()).with_context(|| format!("{id} in {listed:#}"))
    };
    let stays = row(&ran.file("stays")?)?;
    for (pointer, wanted) in [
        ("/processes", Value::from(1)),
        ("/container/source", "cri".into()),
        ("/container/name", "stays".into()),
        ("/container/image", "docker.io/bench/busybox:1".into()),
        ("/pod/source", "cri".into()),
        ("/pod/name", "web-1".into()),
        ("/pod/namespace", "prod".into()),
        ("/pod/uid", UID.into()),
    ] {
        ensure!(stays.pointer(pointer) == Some(&wanted), "{pointer} is not {wanted}: {stays:#}");
    }
    let sandbox = row(&ran.file("sandbox")?)?;
    ensure!(sandbox["container"]["sandbox"] == true && sandbox["pod"]["name"] == "web-1", "{sandbox:#}");
    let source = &listed["sources"][0];
    ensure!(source["source"] == "cri" && source["state"] == "ok" && source["pods"] == 1, "{source}");
    Ok(())
}
