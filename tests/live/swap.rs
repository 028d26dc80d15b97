//! Rules that are swapped while events come: every event is judged by one whole set.

use anyhow::{Context, Result, ensure};
use hostward_tests::{Part, Setup, lacks};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// How often the rules are swapped.
const SWAPS: usize = 1_000;

/// Two rules of which both match every open of a file of this test. Their names stand apart in the file, so that a set
/// which is taken half would show one of them.
fn set(letter: char, place: &str) -> String {
    let rule = |n: u8| {
        format!(
            "- rule: {letter}{n}\n  desc: A rule of the set {letter}.\n  condition: >\n    evt.type in (open, openat, \
             openat2, creat) and fs.path.resolved startswith {place}/ and evt.is_open_write = true\n  output: \
             \"{letter}{n} %fs.path.resolved\"\n  priority: Notice\n"
        )
    };
    let between: String = (0..50)
        .map(|n| {
            format!(
                "- rule: {letter} between {n}\n  desc: It matches nothing.\n  condition: evt.type = execve and \
                 proc.name = hw-nothing-{n}\n  output: o\n  priority: Notice\n"
            )
        })
        .collect();
    rule(1) + &between + &rule(2)
}

/// A file is there whole or not at all.
fn put(path: &Path, text: &str) -> Result<()> {
    let made = path.with_extension("new");
    fs::write(&made, text)?;
    Ok(fs::rename(made, path)?)
}

/// Opens one new file after the other, and tells how many there are.
fn open_files(place: &Path, stop: &AtomicBool, opened: &AtomicU64) -> Result<()> {
    while !stop.load(Relaxed) {
        let path = place.join(format!("f{}", opened.load(Relaxed)));
        drop(File::create(&path)?);
        fs::remove_file(&path)?;
        opened.fetch_add(1, Relaxed);
        // A load, not a flood: what a sink has to refuse would be another test.
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    Ok(())
}

#[test]
fn every_event_is_judged_by_one_whole_set_of_rules() -> Result<()> {
    if lacks(Part::Kernel, "every_event_is_judged_by_one_whole_set_of_rules") {
        return Ok(());
    }
    let dir = tempfile::Builder::new().prefix("hw-swap-").tempdir()?;
    let place = dir.path().canonicalize()?;
    let text = place.to_str().context("a path of UTF-8")?;
    let sets = [set('A', text), set('B', text)];
    // The alerts alone are looked at, and a debug build takes its time to read what else there would be.
    let quiet = "[telemetry]\nexec = false\nfork = false\nexit = false\nconnect = false\nconnection_end = false\nopens = \"none\"\n";
    let setup = Setup::new()?.config(quiet)?;
    let rules = setup.write("rules.yaml", &sets[0])?;
    let mut agent = setup.arg("--rules").arg(&rules).start()?;

    let (stop, opened) = (AtomicBool::new(false), AtomicU64::new(0));
    let swapped = std::thread::scope(|scope| -> Result<()> {
        let load = scope.spawn(|| open_files(&place, &stop, &opened));
        let swapped = (|| {
            for n in 1..=SWAPS {
                put(&rules, sets.get(n % 2).context("a set")?)?;
                let reloaded = agent.ask(&["rules", "reload"])?;
                ensure!(reloaded.status.success(), "{}", String::from_utf8_lossy(&reloaded.stderr));
            }
            Ok(())
        })();
        stop.store(true, Relaxed);
        load.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
        swapped
    });
    swapped?;
    // What is on its way when it is asked to end is still judged and told.
    ensure!(agent.stop()?.success(), "{}", agent.log());

    // Which rules have judged each file.
    let mut judged: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in agent.feed().records()? {
        let Some((rule, path)) = record.text("message").and_then(|message| message.split_once(' ')) else {
            continue;
        };
        if let Some(name) = path.strip_prefix(text).and_then(|path| path.strip_prefix("/f"))
            && record.text("event.kind") == Some("alert")
        {
            judged.entry(name.to_owned()).or_default().push(rule.to_owned());
        }
    }
    let opened = opened.load(Relaxed);
    let mut by_set = BTreeMap::new();
    for n in 0..opened {
        let mut rules = judged.remove(&n.to_string()).unwrap_or_default();
        rules.sort();
        ensure!(
            rules == ["A1", "A2"] || rules == ["B1", "B2"],
            "file {n} of {opened} was judged by {rules:?}"
        );
        *by_set.entry(rules).or_insert(0_u64) += 1;
    }
    ensure!(judged.is_empty(), "{judged:?}");
    ensure!(by_set.len() == 2, "only one set was ever in force: {by_set:?}");
    println!("{opened} files over {SWAPS} swaps: {by_set:?}");
    Ok(())
}
