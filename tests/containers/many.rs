//! Hundreds of containers that start, run one program and end: each of their events is named when it is first sent.
//!
//! `HOSTWARD_MANY` is how many of each, `HOSTWARD_AT_ONCE` how many at the same time; `--nocapture` shows the share that was
//! named and how fast they came. With `HOSTWARD_BIN` a release is measured: docs/performance.md has its figures.

use crate::{alone, wait_for_source};
use anyhow::{Context, Result, ensure};
use hostward_tests::{Agent, Containerd, Engine, Kind, Part, Record, Runc, Setup, lacks, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Arguments that nobody else uses tell the containers' events.
const PROGRAM: [&str; 2] = ["/bin/uname", "-snrvm"];
/// Events of a thousand that may lack their name.
const GOAL: usize = 1;
/// The same where files alone tell a container, whose state is there for some ten milliseconds: a debug build that shares
/// its processors with the containers comes too late for some. Whoever measures a release holds it to the goal.
const GOAL_OF_FILES: usize = 100;

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn how_many(usual: usize) -> usize {
    number("HOSTWARD_MANY", usual)
}

/// Does `one` for each number below `count`, some at a time.
fn each(count: usize, one: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let work = || -> Result<()> {
            loop {
                match next.fetch_add(1, Ordering::Relaxed) {
                    n if n < count => one(n)?,
                    _ => return Ok(()),
                }
            }
        };
        let workers: Vec<_> = (0..number("HOSTWARD_AT_ONCE", 1)).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|_| anyhow::bail!("a worker panicked")))
    })
}

/// Starts of the program and their ends.
fn events(agent: &Agent) -> Result<Vec<Record>> {
    let records = agent.feed().records()?.into_iter();
    let of = |r: &Record| (r.is("exec") || r.is("end")) && r.texts("process.args") == PROGRAM;
    Ok(records.filter(of).collect())
}

/// Runs `count` containers, waits until all are in the feed, and looks whether they are named as `named` wants it.
fn measure(
    agent: &Agent,
    what: &str,
    count: usize,
    run: impl Fn(usize) -> Result<()> + Sync,
    named: impl Fn(&Record) -> bool,
    goal: usize,
) -> Result<()> {
    let began = Instant::now();
    each(count, run)?;
    let took = began.elapsed();
    let all = until(&format!("the events of {count} containers {what}"), Duration::from_secs(120), || {
        let found = events(agent)?;
        let of = |action: &str| {
            let records = found.iter().filter(|r| r.is(action));
            records.map(|r| r.text("process.entity_id")).collect::<BTreeSet<_>>().len()
        };
        let whole = of("exec") >= count && of("end") >= count;
        Ok(whole.then_some(found))
    })?;
    let lacking: Vec<&Record> = all.iter().filter(|record| !named(record)).collect();
    let share = 100.0 * (all.len() - lacking.len()) as f64 / all.len() as f64;
    let pace = 60.0 * count as f64 / took.as_secs_f64();
    println!(
        "{count} containers {what}, {pace:.0} a minute: {} events, {share:.2} % named at first sending",
        all.len()
    );
    ensure!(all.len() == 2 * count, "{} events of {count} containers", all.len());
    ensure!(
        lacking.len() * 1000 <= goal * all.len(),
        "{} of {} lack their name: {:#?}",
        lacking.len(),
        all.len(),
        lacking
            .iter()
            .map(|r| (
                r.text("@timestamp"),
                r.text("event.action"),
                r.text("hostward.cgroup.path"),
                r.text("container.id")
            ))
            .collect::<Vec<_>>()
    );
    Ok(())
}

fn named(prefix: &str) -> impl Fn(&Record) -> bool {
    move |record| record.text("container.name").is_some_and(|name| name.starts_with(prefix))
}

#[test]
fn hundreds_of_containers_of_runc_are_named() -> Result<()> {
    let name = "hundreds_of_containers_of_runc_are_named";
    if lacks(Part::Kernel, name) || lacks(Part::Runc, name) {
        return Ok(());
    }
    let _alone = alone();
    let runc = Runc::new("many")?;
    let config = format!("[runtime]\nstate_dirs = [\"{}\"]\n", runc.state_dir().display());
    let count = how_many(200);
    let goal = if std::env::var_os("HOSTWARD_BIN").is_some() { GOAL } else { GOAL_OF_FILES };
    let run = |id: &str, bundle: &Path| runc.call(&["run", "--bundle", &bundle.display().to_string(), id]);

    // Cgroups of any name: only the runtime's files tell that they are containers.
    let agent = Setup::new()?.config(&config)?.start()?;
    let bundle = runc.bundle("free", &PROGRAM, |spec| spec["linux"]["cgroupsPath"] = json!(null))?;
    std::fs::hard_link(bundle.join("rootfs/bin/busybox"), bundle.join("rootfs/bin/uname"))?;
    measure(
        &agent,
        "of runc by itself",
        count,
        |n| run(&format!("free-{n}"), &bundle),
        named("free-"),
        goal,
    )?;
    drop(agent);

    // Containers of pods whose CRI runtime is not there: id and pod stand in the cgroup's path.
    let agent = Setup::new()?.config(&config)?.start()?;
    let place = tempfile::tempdir()?;
    let mut spec: Value = serde_json::from_slice(&std::fs::read(bundle.join("config.json"))?)?;
    spec["root"]["path"] = json!(bundle.join("rootfs"));
    let mut bundles = Vec::new();
    for n in 0..count {
        let id = format!("{n:064x}");
        let uid = format!("{n:08x}-4b5b-4b5b-9d5c-{:012x}", std::process::id());
        spec["linux"]["cgroupsPath"] = json!(runc.cgroup(&format!("kubepods/besteffort/pod{uid}/{id}")));
        spec["annotations"] = json!({
            "io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.container-name": "app",
            "io.kubernetes.cri.sandbox-name": "web", "io.kubernetes.cri.sandbox-namespace": "prod",
            "io.kubernetes.cri.sandbox-uid": uid, "io.kubernetes.cri.sandbox-id": id,
            "io.kubernetes.cri.image-name": "docker.io/bench/busybox:1",
        });
        let bundle = place.path().join(&id);
        std::fs::create_dir(&bundle)?;
        std::fs::write(bundle.join("config.json"), spec.to_string())?;
        bundles.push((id, bundle));
    }
    let one = |n: usize| bundles.get(n).map_or(Ok(()), |(id, bundle)| run(id, bundle));
    let of_pod = |r: &Record| named("app")(r) && r.text("orchestrator.resource.name") == Some("web");
    measure(&agent, "of pods, told by files alone", count, one, of_pod, goal)
}

#[test]
fn many_containers_of_docker_are_named() -> Result<()> {
    let name = "many_containers_of_docker_are_named";
    if lacks(Part::Kernel, name) || lacks(Part::Docker, name) {
        return Ok(());
    }
    let _alone = alone();
    let engine = Engine::start(Kind::Docker)?;
    let agent = Setup::new()?.config(&engine.config())?.start()?;
    wait_for_source(&agent, "ok")?;
    let run = |n: usize| engine.run(&format!("many-{n}"), &["--rm"], &PROGRAM).map(drop);
    measure(&agent, "of Docker", how_many(40), run, named("many-"), GOAL)
}

#[test]
fn many_containers_of_pods_are_named() -> Result<()> {
    let name = "many_containers_of_pods_are_named";
    if lacks(Part::Kernel, name) || lacks(Part::Containerd, name) {
        return Ok(());
    }
    let _alone = alone();
    let containerd = Containerd::start()?;
    let config = format!("[runtime]\nsockets = [\"cri:{}\"]\n", containerd.socket().display());
    let agent = Setup::new()?.config(&config)?.start()?;
    wait_for_source(&agent, "ok")?;
    let uid = format!("11fe0001-4b5b-4b5b-9d5c-{:012x}", std::process::id());
    let pod = containerd.config("web-many", &uid);
    let sandbox = containerd.pod(&pod)?;
    let run = |n: usize| containerd.container(&sandbox, &pod, &format!("many-{n}"), &PROGRAM).map(drop);
    measure(&agent, "of pods by CRI", how_many(40), run, named("many-"), GOAL).context("CRI")?;
    containerd.remove(&sandbox)
}
