//! Files that are opened.

use anyhow::{Context, Result, ensure};
use hostward_tests::{Agent, Part, Record, Setup, lacks};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// A rule that watches one directory by name, so that the kernel reports what is opened below it.
fn watching(name: &str) -> Result<Agent> {
    Setup::new()?
        .rules(&format!(
            "- rule: Watched\n  desc: Every open below the test's directory.\n  condition: >\n    \
             evt.type in (open, openat, openat2, creat) and (fs.path.resolved contains /{name}/ or fd.name contains /{name}/)\n  \
             output: opened %fd.name %evt.arg.flags %evt.res\n  priority: Notice\n  tags: [T1083]\n"
        ))?
        .start()
}

fn mine(record: &Record) -> bool {
    record.number("process.pid") == Some(std::process::id().into())
        && record.text("event.kind") == Some("event")
}

fn about(path: &Path) -> impl Fn(&Record) -> bool + use<> {
    let path = path.to_string_lossy().into_owned();
    move |record| mine(record) && record.text("file.path") == Some(&path)
}

#[test]
fn reads_writes_and_creations_are_told_apart() -> Result<()> {
    if lacks(Part::Kernel, "reads_writes_and_creations_are_told_apart") {
        return Ok(());
    }
    let dir = tempfile::Builder::new().prefix("hw-files-").tempdir()?;
    let name = dir.path().file_name().context("a name")?.to_string_lossy().into_owned();
    let agent = watching(&name)?;
    let path = dir.path().join("fresh.txt");
    let created = File::create(&path)?;
    let wanted = about(&path);
    let record = agent.feed().wait("the creation", |r| wanted(r) && r.is("creation"))?;
    assert_eq!(record.texts("event.type"), ["creation"]);
    assert_eq!(record.texts("event.category"), ["file"]);
    assert_eq!(record.text("file.name"), Some("fresh.txt"));
    assert_eq!(record.text("file.extension"), Some("txt"));
    assert_eq!(record.text("file.directory"), dir.path().to_str());
    assert_eq!(record.text("file.type"), Some("file"));
    assert_eq!(record.text("file.inode"), Some(fs::metadata(&path)?.ino().to_string().as_str()));
    assert_eq!(record.text("hostward.file.flags"), Some("O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC|O_F_CREATED"));
    assert_eq!(record.text("event.outcome"), Some("success"));
    assert_eq!(record.text("hostward.source.rung"), Some("syscall_tracepoint"));
    drop(created);

    let read = File::open(&path)?;
    let record = agent.feed().wait("the read", |r| wanted(r) && r.is("open"))?;
    assert_eq!(record.text("hostward.file.flags"), Some("O_RDONLY|O_CLOEXEC"));
    let alert = agent.feed().wait("the alert on the read", |r| {
        r.is_alert_of("Watched") && r.text("hostward.alert.trigger") == record.text("event.id")
    })?;
    assert_eq!(
        alert.text("message"),
        Some(format!("opened {} O_RDONLY|O_CLOEXEC SUCCESS", path.display()).as_str())
    );
    assert!(read.as_raw_fd() > 2);
    Ok(())
}

#[test]
fn a_link_does_not_hide_the_file() -> Result<()> {
    if lacks(Part::Kernel, "a_link_does_not_hide_the_file") {
        return Ok(());
    }
    let dir = tempfile::Builder::new().prefix("hw-linked-").tempdir()?;
    let name = dir.path().file_name().context("a name")?.to_string_lossy().into_owned();
    let elsewhere = tempfile::tempdir()?;
    let target = dir.path().join("target");
    fs::write(&target, "x")?;
    let link = elsewhere.path().join("innocent");
    std::os::unix::fs::symlink(&target, &link)?;
    let agent = watching(&name)?;
    File::open(&link)?;
    let wanted = about(&target);
    let record = agent.feed().wait("the open through a link", |r| wanted(r))?;
    assert_eq!(record.text("hostward.file.argument"), link.to_str(), "the text is kept beside the truth");
    Ok(())
}

#[test]
fn an_open_that_fails_is_told_with_its_reason() -> Result<()> {
    if lacks(Part::Kernel, "an_open_that_fails_is_told_with_its_reason") {
        return Ok(());
    }
    let dir = tempfile::Builder::new().prefix("hw-failing-").tempdir()?;
    let name = dir.path().file_name().context("a name")?.to_string_lossy().into_owned();
    let agent = watching(&name)?;
    let path = dir.path().join("absent");
    assert!(File::open(&path).is_err());
    let wanted = about(&path);
    let record = agent.feed().wait("the failed open", |r| wanted(r))?;
    assert_eq!(record.text("event.outcome"), Some("failure"));
    assert_eq!(record.text("error.code"), Some("ENOENT"));
    Ok(())
}

#[test]
fn a_relative_path_is_made_absolute() -> Result<()> {
    if lacks(Part::Kernel, "a_relative_path_is_made_absolute") {
        return Ok(());
    }
    use rustix::fs::{Mode, OFlags, openat};
    let dir = tempfile::Builder::new().prefix("hw-relative-").tempdir()?;
    let name = dir.path().file_name().context("a name")?.to_string_lossy().into_owned();
    let agent = watching(&name)?;
    let base = File::open(dir.path())?;
    fs::create_dir(dir.path().join("a"))?;
    openat(&base, "a/../b", OFlags::CREATE | OFlags::RDWR, Mode::RUSR)?;
    let wanted = about(&dir.path().join("b"));
    let record = agent.feed().wait("the open below a directory descriptor", |r| wanted(r))?;
    assert_eq!(record.text("hostward.file.argument"), Some("a/../b"));
    let alert = agent.feed().wait("its alert", |r| {
        r.is_alert_of("Watched") && r.text("hostward.alert.trigger") == record.text("event.id")
    })?;
    let message = alert.text("message").unwrap_or_default();
    assert!(message.contains(&format!("opened {}/b O_RDWR|O_CREAT", dir.path().display())), "{message}");
    Ok(())
}

/// `source` is copied by a program: that one, and its record of the new file that `wanted` likes. Not by this process, of
/// which the tests beside make children that hold all its files for a moment.
fn written(
    agent: &Agent,
    source: &Path,
    file: &Path,
    wanted: impl Fn(&Record) -> bool,
) -> Result<(u32, Record)> {
    let mut copy = Command::new("cp").arg(source).arg(file).spawn()?;
    ensure!(copy.wait()?.success(), "cp failed");
    let (pid, path) = (copy.id(), file.to_string_lossy().into_owned());
    let record = agent.feed().wait("the close", |r| {
        r.number("process.pid") == Some(pid.into()) && r.text("file.path") == Some(&path) && wanted(r)
    })?;
    Ok((pid, record))
}

#[test]
fn a_file_that_was_written_is_told_when_it_is_closed() -> Result<()> {
    if lacks(Part::Kernel, "a_file_that_was_written_is_told_when_it_is_closed") {
        return Ok(());
    }
    let dir = tempfile::Builder::new().prefix("hw-closed-").tempdir()?;
    let place = dir.path().canonicalize()?;
    let rules = format!(
        "- rule: Dropped\n  desc: A file was written here.\n  condition: >\n    evt.type=close and fd.typechar=f and \
         evt.is_open_write=true and fd.name startswith {}/\n  output: a %evt.type of %fd.name by %proc.pid, new %evt.is_open_create\n  \
         priority: Notice\n  tags: [T1105]\n",
        place.display()
    );
    // The rule alone has it watched, and then it is told in alerts alone.
    let mut agent = Setup::new()?.rules(&rules)?.start()?;
    let source = tempfile::NamedTempFile::new()?;
    fs::write(&source, "malware")?;
    let file = place.join("drop.sh");
    let (pid, alert) = written(&agent, source.path(), &file, |r| r.is_alert_of("Dropped"))?;
    assert_eq!(
        alert.text("message"),
        Some(format!("a close of {} by {pid}, new true", file.display()).as_str())
    );
    assert_eq!(alert.texts("event.category"), ["intrusion_detection", "file"]);
    assert_eq!(alert.number("file.size"), Some(7));
    assert_eq!(alert.text("hostward.response.object"), file.to_str());
    assert!(agent.stop()?.success(), "{}", agent.log());
    assert!(
        !agent.feed().records()?.iter().any(|r| r.is("close_write") && r.text("event.kind") == Some("event"))
    );

    let agent = Setup::new()?.config("[telemetry]\nclose_write = true\n")?.start()?;
    let (_, record) = written(&agent, source.path(), &place.join("other.txt"), |r| r.is("close_write"))?;
    assert_eq!(record.texts("event.type"), ["change"]);
    assert_eq!(record.texts("event.category"), ["file"]);
    assert_eq!(record.text("event.dataset"), Some("hostward.file"));
    assert_eq!(record.text("event.outcome"), Some("success"));
    assert_eq!((record.text("file.name"), record.text("file.type")), (Some("other.txt"), Some("file")));
    let inode = fs::metadata(place.join("other.txt"))?.ino().to_string();
    assert_eq!((record.text("file.inode"), record.number("file.size")), (Some(inode.as_str()), Some(7)));
    let flags = record.text("hostward.file.flags").unwrap_or_default();
    assert!(flags.starts_with("O_WRONLY") && flags.ends_with("O_F_CREATED"), "{flags}");
    Ok(())
}
