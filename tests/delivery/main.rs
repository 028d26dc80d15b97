//! The live agent's own events on their way to a receiver that is away, refuses, and comes back.
//!
//! Each sink against the real servers of its kind is tested in `outputs/tests`.

use anyhow::{Context, Result, ensure};
use hostward_tests::{Agent, Part, Receiver, Setup, binary, child, lacks, wait};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

/// Longer than the longest pause between two attempts that these outages lead to, on a loaded machine.
const CAUGHT_UP: Duration = Duration::from_secs(90);

/// An address where nobody listens.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Everything to the file, and the runs of programs that carry `mark` also to a webhook.
fn config(mark: &str, address: SocketAddr) -> String {
    format!(
        "[[sink]]\ntype = \"file\"\n\n\
         [[sink]]\ntype = \"webhook\"\nname = \"hook\"\nurl = \"http://{address}/in\"\nmode = \"batch\"\n\
         filter = \"evt.type = execve and proc.args contains {mark}\"\n"
    )
}

fn sink(agent: &Agent, name: &str) -> Result<Value> {
    let report: Value = serde_json::from_slice(&agent.status()?.stdout)?;
    let sinks = report.get("sinks").and_then(Value::as_array).context("sinks")?;
    let found = sinks.iter().find(|sink| sink.get("name").and_then(Value::as_str) == Some(name));
    found.cloned().with_context(|| format!("no sink {name} in {report}"))
}

fn count(sink: &Value, name: &str) -> u64 {
    sink.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// `accepted = delivered + waiting + in flight + dropped + dead letters`
fn law_holds(sink: &Value) -> bool {
    let dropped = sink.get("dropped").and_then(Value::as_array).into_iter().flatten();
    let dropped: u64 = dropped.filter_map(|pair| pair.get(1).and_then(Value::as_u64)).sum();
    let placed =
        ["delivered", "queued", "in_flight", "dlq"].iter().map(|name| count(sink, name)).sum::<u64>();
    count(sink, "accepted") == placed + dropped
}

/// How often each event was received, by `event.id`, with the program's last argument.
fn received(hook: &Receiver) -> Result<BTreeMap<String, (String, usize)>> {
    let mut all: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for event in hook.events()? {
        let id = event.pointer("/event/id").and_then(Value::as_str).context("an id")?;
        let args = event.pointer("/process/args").and_then(Value::as_array).context("arguments")?;
        let last = args.last().and_then(Value::as_str).unwrap_or_default();
        all.entry(id.to_owned()).or_insert_with(|| (last.to_owned(), 0)).1 += 1;
    }
    Ok(all)
}

/// Waits until the sink has nothing left, and gives its last word.
fn caught_up(agent: &Agent, accepted: u64) -> Result<Value> {
    wait::until("the webhook to catch up", CAUGHT_UP, || {
        let hook = sink(agent, "hook")?;
        ensure!(law_holds(&hook), "the books do not balance: {hook}");
        let done =
            count(&hook, "delivered") >= accepted && count(&hook, "queued") + count(&hook, "in_flight") == 0;
        Ok(done.then_some(hook))
    })
    .with_context(|| agent.log())
}

#[test]
fn what_a_dead_receiver_cannot_take_waits_on_disk_over_a_kill_9() -> Result<()> {
    if lacks(Part::Kernel, "what_a_dead_receiver_cannot_take_waits_on_disk_over_a_kill_9") {
        return Ok(());
    }
    let address = free_address()?;
    let agent = Setup::new()?.config(&config("while-away", address))?.start()?;
    for n in 0..100 {
        child::run("/bin/true", &[format!("while-away-{n}")])?;
    }
    wait::until("the events to wait", Duration::from_secs(20), || {
        let hook = sink(&agent, "hook")?;
        Ok((count(&hook, "queued") + count(&hook, "in_flight") == 100).then_some(()))
    })?;
    let report = String::from_utf8(agent.ask(&["status"])?.stdout)?;
    ensure!(report.contains("refused") && report.contains("waiting, oldest"), "{report}");
    ensure!(report.contains("sink hook (webhook): degraded (backoff); "), "{report}");
    // The other sink does not wait for this one.
    agent
        .feed()
        .wait("the last of them in the file", |r| r.texts("process.args").contains(&"while-away-99"))?;

    agent.signal(Signal::KILL)?;
    let agent = agent.revive()?;
    for n in 100..150 {
        child::run("/bin/true", &[format!("while-away-{n}")])?;
    }
    let receiver = Receiver::start(address, 200)?;
    let hook = caught_up(&agent, 150)?;
    ensure!(count(&hook, "accepted") == 150, "{hook}");

    let all = received(&receiver)?;
    let names: Vec<&String> = all.values().map(|(last, _)| last).collect();
    for n in 0..150 {
        let name = format!("while-away-{n}");
        ensure!(
            names.iter().filter(|found| ***found == name).count() == 1,
            "{name} came not once: {names:?}"
        );
    }
    let twice = all.values().filter(|(_, times)| *times > 1).count();
    ensure!(twice == 0, "{twice} events came twice though no reply was lost");
    Ok(())
}

#[test]
fn what_waits_can_be_looked_at_exported_and_given_up_without_the_agent() -> Result<()> {
    if lacks(Part::Kernel, "what_waits_can_be_looked_at_exported_and_given_up_without_the_agent") {
        return Ok(());
    }
    let mut agent = Setup::new()?.config(&config("while-stopped", free_address()?))?.start()?;
    for n in 0..10 {
        child::run("/bin/true", &[format!("while-stopped-{n}")])?;
    }
    wait::until("the events to wait", Duration::from_secs(20), || {
        let hook = sink(&agent, "hook")?;
        Ok((count(&hook, "queued") + count(&hook, "in_flight") == 10).then_some(()))
    })?;
    let state_dir = agent.state_dir();
    let spool = |args: &[&str]| -> Result<(Option<i32>, String)> {
        let mut command = Command::new(binary::hostward()?);
        command.arg("spool").args(args).arg("--state-dir").arg(&state_dir);
        let output = command.output()?;
        Ok((output.status.code(), String::from_utf8([output.stdout, output.stderr].concat())?))
    };
    let (code, told) = spool(&["drop", "--sink", "hook"])?;
    ensure!(
        code == Some(75) && told.contains(&agent.pid().to_string()),
        "the holder is named: {code:?} {told}"
    );
    let (code, told) = spool(&["status"])?;
    ensure!(code == Some(0) && told.contains("sink hook: 10 accepted = 0 delivered + 10 waiting"), "{told}");
    ensure!(agent.stop()?.success(), "{}", agent.log());

    let (code, told) = spool(&["check"])?;
    ensure!(code == Some(0) && told.contains("telemetry lane: whole"), "{code:?} {told}");
    let (code, told) = spool(&["export", "--sink", "hook"])?;
    ensure!(code == Some(0), "{told}");
    for n in 0..10 {
        ensure!(told.contains(&format!("\"while-stopped-{n}\"")), "{n} is not exported: {told}");
    }
    let (code, told) = spool(&["drop", "--sink", "hook"])?;
    ensure!(code == Some(0) && told.contains("telemetry lane: 10 events"), "{code:?} {told}");
    let (_, told) = spool(&["status"])?;
    ensure!(
        told.contains("sink hook: 10 accepted = 0 delivered + 0 waiting + 0 in flight + 10 dropped"),
        "{told}"
    );
    // The next agent tells the loss.
    let agent = agent.revive()?;
    agent.feed().wait("the told loss", |r| {
        r.is("pipeline_loss") && r.text("message").is_some_and(|text| text.contains("hook lost 10 events"))
    })?;
    Ok(())
}

#[test]
fn a_receiver_that_refuses_the_password_holds_events_and_is_told_to_the_others() -> Result<()> {
    if lacks(Part::Kernel, "a_receiver_that_refuses_the_password_holds_events_and_is_told_to_the_others") {
        return Ok(());
    }
    let receiver = Receiver::start(free_address()?, 401)?;
    let agent = Setup::new()?.config(&config("while-locked-out", receiver.address()))?.start()?;
    for n in 0..20 {
        child::run("/bin/true", &[format!("while-locked-out-{n}")])?;
    }
    agent.feed().wait("the notice that the sink needs help", |r| r.is("sink_failed"))?;
    ensure!(agent.status()?.status.code() == Some(2), "a sink that needs help is a failed stage");
    let hook = sink(&agent, "hook")?;
    let told = hook.get("last_error").and_then(Value::as_str).unwrap_or_default().to_owned();
    ensure!(told.contains("401"), "{told}");
    let condition = |sink: &Value| sink.get("condition").and_then(Value::as_str).map(str::to_owned);
    ensure!(condition(&hook).as_deref() == Some("auth_failed"), "{hook}");
    ensure!(condition(&sink(&agent, "file")?).as_deref() == Some("healthy"), "the other sink is well");
    let report = String::from_utf8(agent.ask(&["status"])?.stdout)?;
    ensure!(report.contains("sink hook (webhook): failed (auth_failed); "), "{report}");
    ensure!(count(&hook, "dlq") == 0 && law_holds(&hook), "nothing is given up: {hook}");

    receiver.answer(200);
    caught_up(&agent, 20)?;
    agent.feed().wait("the notice that it is well again", |r| r.is("sink_recovered"))?;
    let report = String::from_utf8(agent.ask(&["status"])?.stdout)?;
    ensure!(report.contains("sink hook (webhook): ok (healthy); "), "{report}");
    Ok(())
}

#[test]
fn a_receiver_that_refuses_events_gets_the_next_ones_and_what_it_refused_is_kept() -> Result<()> {
    if lacks(Part::Kernel, "a_receiver_that_refuses_events_gets_the_next_ones_and_what_it_refused_is_kept") {
        return Ok(());
    }
    let receiver = Receiver::start(free_address()?, 200)?;
    let agent = Setup::new()?.config(&config("while-refused", receiver.address()))?.start()?;
    // One that never took an event is not believed: it may be no such server.
    child::run("/bin/true", &["while-refused-not-yet".to_owned()])?;
    caught_up(&agent, 1)?;
    receiver.answer(400);
    for n in 0..3 {
        child::run("/bin/true", &[format!("while-refused-{n}")])?;
    }
    let hook = wait::until("the refused events to be dead letters", CAUGHT_UP, || {
        Ok(Some(sink(&agent, "hook")?).filter(|hook| count(hook, "dlq") == 3))
    })
    .with_context(|| agent.log())?;
    ensure!(law_holds(&hook) && count(&hook, "queued") == 0, "{hook}");
    ensure!(hook.get("condition").and_then(Value::as_str) == Some("rejecting"), "{hook}");
    let report = String::from_utf8(agent.ask(&["status"])?.stdout)?;
    ensure!(report.contains("sink hook (webhook): ok (rejecting); "), "{report}");
    let letters = std::fs::read_dir(agent.state_dir().join("spool/dlq/hook"))?
        .map(|entry| Ok(std::fs::read_to_string(entry?.path())?))
        .collect::<Result<String>>()?;
    for n in 0..3 {
        ensure!(letters.contains(&format!("while-refused-{n}")), "{n} is in no dead letter: {letters}");
    }

    receiver.answer(200);
    child::run("/bin/true", &["while-refused-no-more".to_owned()])?;
    caught_up(&agent, 2)?;
    let names: BTreeSet<String> = received(&receiver)?.into_values().map(|(last, _)| last).collect();
    ensure!(names.into_iter().eq(["while-refused-no-more", "while-refused-not-yet"]), "what was taken");
    Ok(())
}

#[test]
fn check_connect_tells_which_sink_cannot_deliver() -> Result<()> {
    let check = |address| -> Result<(Option<i32>, String)> {
        let setup = Setup::new()?;
        let path = setup.write("check.toml", config("any", address))?;
        let mut command = Command::new(binary::hostward()?);
        let output = command.args(["config", "check", "--connect", "--config"]).arg(path).output()?;
        let both = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8(both)?))
    };
    let (code, told) = check(free_address()?)?;
    ensure!(code == Some(69), "{code:?}: {told}");
    ensure!(told.contains("FAILED  connect to 127.0.0.1") && told.contains("1 of 2 sinks"), "{told}");
    let receiver = Receiver::start(free_address()?, 200)?;
    let (code, told) = check(receiver.address())?;
    ensure!(code == Some(0) && !told.contains("FAILED"), "{code:?}: {told}");
    Ok(())
}
