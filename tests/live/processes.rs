//! Programs that start, fork and end.

use anyhow::{Context, Result, ensure};
use hostward_tests::{Agent, Part, Record, Setup, child, lacks};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

fn of(pid: u32) -> impl Fn(&Record, &str) -> bool {
    move |record, action| record.is(action) && record.number("process.pid") == Some(pid.into())
}

#[test]
fn a_child_is_told_from_fork_to_end() -> Result<()> {
    if lacks(Part::Kernel, "a_child_is_told_from_fork_to_end") {
        return Ok(());
    }
    let agent = Agent::start()?;
    let dir = tempfile::tempdir()?;
    let program = child::copy_of("/bin/sh", dir.path(), "told-shell")?;
    let script = "exec 3</dev/null; exit 7";
    let mut child = Command::new(&program)
        .args(["-c", script, "argument zero", "second"])
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let pid = child.id();
    child.wait()?;
    let about = of(pid);
    let feed = agent.feed();
    let end = feed.wait("the end of the child", |r| about(r, "end"))?;
    let exec = feed.wait("the exec of the child", |r| about(r, "exec"))?;
    let fork = feed.wait("the fork of the child", |r| about(r, "fork"))?;

    let path = program.to_str().context("a path of UTF-8")?;
    assert_eq!(exec.text("process.executable"), Some(path));
    assert_eq!(exec.text("process.name"), Some("told-shell"));
    assert_eq!(exec.texts("process.args"), [path, "-c", script, "argument zero", "second"]);
    assert_eq!(exec.number("process.args_count"), Some(5));
    assert_eq!(
        exec.text("process.command_line"),
        Some(format!("told-shell -c {script} argument zero second").as_str())
    );
    assert_eq!(exec.text("process.working_directory"), dir.path().to_str());
    assert_eq!(exec.number("process.parent.pid"), Some(std::process::id().into()));
    assert_eq!(exec.text("process.user.id"), Some(rustix::process::geteuid().as_raw().to_string().as_str()));
    assert_eq!(exec.text("process.user.name"), Some("root"));
    assert_eq!(exec.text("hostward.process.stdin"), Some("char_device"));
    assert_eq!(exec.text("hostward.process.stdout"), Some("fifo"));
    assert_eq!(exec.text("event.outcome"), Some("success"));
    assert_eq!(exec.texts("event.category"), ["process"]);
    assert_eq!(exec.texts("event.type"), ["start"]);
    assert_eq!(exec.text("event.kind"), Some("event"));
    assert_eq!(exec.text("host.os.type"), Some("linux"));
    assert!(exec.text("ecs.version").is_some_and(|version| version.starts_with("9.")));
    assert_eq!(exec.text("hostward.source.rung"), Some("btf_tracepoint"));

    assert_eq!(end.number("process.exit_code"), Some(7));
    assert_eq!(end.text("process.executable"), Some(path), "the end names the program");
    let id = exec.text("process.entity_id").context("an entity id")?;
    assert_eq!(end.text("process.entity_id"), Some(id));
    assert_eq!(fork.text("process.entity_id"), Some(id));
    let parent = exec.text("process.parent.entity_id").context("the parent's entity id")?;
    assert_eq!(fork.text("process.parent.entity_id"), Some(parent));

    let time = |r: &Record| r.text("@timestamp").map(str::to_owned);
    assert!(time(&fork) <= time(&exec) && time(&exec) <= time(&end), "{fork:?} {exec:?} {end:?}");
    let number = |r: &Record| r.number("event.sequence");
    assert!(number(&fork) < number(&exec) && number(&exec) < number(&end));
    Ok(())
}

#[test]
fn a_signal_that_ends_a_child_is_told() -> Result<()> {
    if lacks(Part::Kernel, "a_signal_that_ends_a_child_is_told") {
        return Ok(());
    }
    let agent = Agent::start()?;
    let ended = child::sh("kill -TERM $$; sleep 5")?;
    assert_eq!(ended.signal, Some(15));
    let about = of(ended.pid);
    let end = agent.feed().wait("the end of the child", |r| about(r, "end"))?;
    assert_eq!(end.number("process.exit_code"), Some(143));
    assert_eq!(end.number("hostward.process.exit_signal"), Some(15));
    Ok(())
}

#[test]
fn names_that_are_no_text_do_not_vanish() -> Result<()> {
    if lacks(Part::Kernel, "names_that_are_no_text_do_not_vanish") {
        return Ok(());
    }
    let agent = Agent::start()?;
    let dir = tempfile::tempdir()?;
    let program = child::copy_of("/bin/true", dir.path(), OsStr::from_bytes(b"odd\xff\x1b\n"))?;
    let ended = child::run(&program, &[OsStr::from_bytes(b"\xfe\x1b[2J")])?;
    let about = of(ended.pid);
    let exec = agent.feed().wait("the exec of the child", |r| about(r, "exec"))?;
    assert_eq!(exec.text("process.name"), Some("odd\\xff\u{1b}\n"));
    assert!(exec.text("process.executable").is_some_and(|path| path.ends_with("/odd\\xff\u{1b}\n")));
    assert_eq!(exec.texts("process.args").get(1), Some(&"\\xfe\u{1b}[2J"));

    let shown = agent.ask(&["events", "--since", "1m", "--no-follow"])?;
    assert!(!shown.stdout.contains(&0x1b), "the live view must not be driven by a name");
    let line = String::from_utf8(shown.stdout)?;
    assert!(line.contains("odd\\xff\\u{1b}\\n"), "{line}");
    Ok(())
}

#[test]
fn long_arguments_are_cut_and_say_so() -> Result<()> {
    if lacks(Part::Kernel, "long_arguments_are_cut_and_say_so") {
        return Ok(());
    }
    let agent = Agent::start()?;
    let long: Vec<String> = (0..60).map(|n| format!("{n:03}{}", "x".repeat(96))).collect();
    let ended = child::run("/bin/true", &long)?;
    let about = of(ended.pid);
    let exec = agent.feed().wait("the exec of the child", |r| about(r, "exec"))?;
    let args = exec.texts("process.args");
    let taken: usize = args.iter().map(|arg| arg.len() + 1).sum();
    assert!((4000..=4097).contains(&taken), "{taken} bytes of arguments were taken");
    assert_eq!(args.get(1), long.first().map(String::as_str).as_ref());
    let total = "/bin/true".len() + 1 + long.iter().map(|arg| arg.len() + 1).sum::<usize>();
    assert_eq!(exec.number("hostward.process.args_bytes"), i64::try_from(total).ok());
    Ok(())
}

#[test]
fn a_process_keeps_its_identity_over_a_restart_of_the_agent() -> Result<()> {
    if lacks(Part::Kernel, "a_process_keeps_its_identity_over_a_restart_of_the_agent") {
        return Ok(());
    }
    let agent = Agent::start()?;
    let dir = tempfile::tempdir()?;
    let program = child::copy_of("/bin/sh", dir.path(), "stays")?;
    // The shell waits for a line, then starts a program under the second agent.
    let mut child =
        Command::new(&program).args(["-c", "read go; /bin/true", "marker"]).stdin(Stdio::piped()).spawn()?;
    let about = of(child.id());
    let exec = agent.feed().wait("the exec of the child", |r| about(r, "exec"))?;
    let agent = agent.restart()?;
    drop(child.stdin.take());
    let pid = child.id();
    child.wait()?;
    let id = exec.text("process.entity_id").context("an entity id")?.to_owned();
    let parent = Some(i64::from(pid));
    let later = agent.feed().wait("a program that the old process started", |r| {
        r.is("exec") && r.number("process.parent.pid") == parent
    })?;
    assert_eq!(later.text("process.parent.entity_id"), Some(id.as_str()));
    assert_eq!(later.text("process.parent.executable"), program.to_str());
    let args = later.texts("process.parent.args");
    assert!(args.contains(&"marker"), "the seed has the arguments of a process that lived before: {args:?}");
    Ok(())
}

#[test]
fn ids_and_session_are_those_of_the_child() -> Result<()> {
    if lacks(Part::Kernel, "ids_and_session_are_those_of_the_child") {
        return Ok(());
    }
    let agent = Agent::start()?;
    // A session of its own: the one that the tests run in may be led from another pid namespace.
    let mut command = Command::new("setsid");
    command.uid(65534).gid(65534).args(["/bin/true", "as-nobody"]).stdin(Stdio::null());
    let mut child = command.spawn()?;
    let about = of(child.id());
    ensure!(child.wait()?.success());
    let exec = agent.feed().wait("the exec of the child", |r| {
        about(r, "exec") && r.text("process.executable") != Some("/usr/bin/setsid")
    })?;
    assert_eq!(exec.text("process.user.id"), Some("65534"));
    assert_eq!(exec.text("process.real_user.id"), Some("65534"));
    assert_eq!(exec.text("process.user.name"), Some("nobody"));
    assert_eq!(exec.text("process.group.name"), Some("nogroup"));
    assert_eq!(exec.number("process.group_leader.pid"), Some(child.id().into()));
    assert_eq!(exec.texts("process.thread.capabilities.effective"), [""; 0]);
    assert_eq!(exec.number("process.session_leader.pid"), Some(child.id().into()));
    Ok(())
}

/// What `sha256sum` says.
fn sha256(path: &std::path::Path) -> Result<String> {
    let told = child::output(Command::new("sha256sum").arg(path))?;
    Ok(told.split_whitespace().next().context("a hash")?.to_owned())
}

#[test]
fn a_start_carries_the_hash_of_the_very_file_that_ran() -> Result<()> {
    if lacks(Part::Kernel, "a_start_carries_the_hash_of_the_very_file_that_ran") {
        return Ok(());
    }
    // On a busy machine the file may be read late.
    let agent = Setup::new()?.config("[enrich]\nprogram_wait_ms = 10000\n")?.start()?;
    let feed = agent.feed();
    let dir = tempfile::tempdir()?;
    let program = child::copy_of("/bin/sleep", dir.path(), "hashed")?;
    // So that nobody has seen this file before.
    let mut bytes = std::fs::read(&program)?;
    bytes.extend(std::process::id().to_le_bytes());
    std::fs::write(&program, &bytes)?;
    let first = sha256(&program)?;
    let path = program.to_str().context("a path of UTF-8")?;

    // Replaced while it runs, and before anybody can have looked at it by its path for long.
    let mut child = Command::new(&program).arg("1").spawn()?;
    let other = dir.path().join("other");
    bytes.push(0);
    std::fs::write(&other, &bytes)?;
    std::fs::set_permissions(&other, std::fs::metadata(&program)?.permissions())?;
    std::fs::rename(&other, &program)?;
    let pid = child.id();
    let exec = feed.wait("the start of the first", |r| of(pid)(r, "exec"))?;
    assert_eq!(exec.text("process.executable"), Some(path));
    let told = exec.text("process.hash.sha256");
    assert!(told.is_none() || told == Some(&first), "{told:?} is not {first}");
    child.wait()?;

    // The other one, which nobody touches.
    let second = sha256(&program)?;
    assert_ne!(second, first);
    for round in ["unknown", "known"] {
        let ended = child::run(&program, &["0.2"])?;
        let exec = feed.wait(round, |r| of(ended.pid)(r, "exec"))?;
        assert_eq!(exec.text("process.hash.sha256"), Some(second.as_str()), "{round}");
        assert_eq!(exec.texts("related.hash"), [second.as_str()]);
        let end = feed.wait("its end", |r| of(ended.pid)(r, "end"))?;
        assert_eq!(end.text("process.hash.sha256"), Some(second.as_str()), "{round}");
    }
    Ok(())
}
