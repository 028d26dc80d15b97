//! Hosts that lack something: the agent works with what is left, and says what is not.

use anyhow::{Context, Result, ensure};
use hostward_tests::{Part, Setup, child, lacks};
use serde_json::Value;

/// What the stage "load sensor" notes and complains of.
fn told_of_sensor(status: &[u8]) -> Result<String> {
    let report: Value = serde_json::from_slice(status)?;
    let stages = report.get("stages").and_then(Value::as_array).context("no stages")?;
    let sensor = stages.iter().find(|stage| stage.get("stage").is_some_and(|name| name == "load_sensor"));
    Ok(sensor.context("no stage load_sensor")?.to_string())
}

#[test]
fn without_cgroup2_all_but_datagrams_is_told() -> Result<()> {
    if lacks(Part::Kernel, "without_cgroup2_all_but_datagrams_is_told") {
        return Ok(());
    }
    let setup = Setup::new()?.config("[telemetry]\nudp = true\ndns = true\n")?;
    let unmount = r#"for at in $(awk '$3 == "cgroup2" { print $2 }' /proc/self/mounts); do umount -l "$at" || exit 1; done; ! grep -q ' cgroup2 ' /proc/self/mounts"#;
    let agent = setup.prelude(unmount).start()?;
    let told = told_of_sensor(&agent.status()?.stdout)?;
    for hook in ["sendmsg4", "sendmsg6", "inet_egress", "inet_ingress"] {
        ensure!(told.contains(&format!("{hook} is refused")), "{hook}: {told}");
    }
    ensure!(told.contains("cgroup2"), "it says why: {told}");
    let ended = child::run("/bin/true", &["no-cgroup2"])?;
    let own = |action: &'static str| {
        move |r: &hostward_tests::Record| r.is(action) && r.number("process.pid") == Some(ended.pid.into())
    };
    let exec = agent.feed().wait("the exec", own("exec"))?;
    let end = agent.feed().wait("the end", own("end"))?;
    assert_eq!(exec.text("process.entity_id"), end.text("process.entity_id"));
    Ok(())
}

#[test]
fn without_cap_sys_resource_nothing_is_missing() -> Result<()> {
    if lacks(Part::Kernel, "without_cap_sys_resource_nothing_is_missing") {
        return Ok(());
    }
    let whole = told_of_sensor(&Setup::new()?.start()?.status()?.stdout)?;
    // The limit is low, and cannot be raised.
    let lock = "ulimit -l 64";
    let agent = Setup::new()?.prelude(lock).wrapper(&["setpriv", "--bounding-set=-sys_resource"]).start()?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid()))?;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).context("no CapEff")?;
    ensure!(u64::from_str_radix(effective, 16)? >> 24 & 1 == 0, "CAP_SYS_RESOURCE is still there");
    let told = told_of_sensor(&agent.status()?.stdout)?;
    let since = |text: &str| text.split("\"since_ns\"").next().map(str::to_owned);
    let why = |text: &str| text.split("\"why\"").nth(1).map(str::to_owned);
    assert_eq!((since(&told), why(&told)), (since(&whole), why(&whole)));
    let ended = child::run("/bin/true", &["no-resource"])?;
    agent.feed().wait("the exec", |r| r.is("exec") && r.number("process.pid") == Some(ended.pid.into()))?;
    Ok(())
}
